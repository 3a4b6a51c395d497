//! The implementation that is written for an event.
//!
//! What it names stands behind full paths: a user's own `Option` changes nothing. Where a mistake
//! of the user's can make it fail to compile, it has the place of what he wrote, but is resolved
//! where the macro is called, as the type may come from a macro itself.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{GenericArgument, Generics, PathArguments, Type, parse_quote, parse_quote_spanned};

use crate::attribute::Function;
use crate::event::{Event, Key, Shape};

pub(crate) fn expand(event: &Event) -> TokenStream {
    let Event { name, krate, shapes, .. } = event;
    let krate = krate.as_ref().map_or_else(|| quote!(::outbox), |krate| quote!(#krate));
    let topic = topic(shapes);
    let message_type = shapes.iter().any(|shape| shape.message_type.is_some());
    let message_type = message_type.then(|| self::message_type(shapes));
    let key = shapes.iter().any(|shape| shape.key.is_some()).then(|| self::key(shapes));
    let content_type = content_type(event);
    let payload = payload(event);
    let generics = bounded(event);
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    quote! {
        const _: () = {
            use #krate::__derive as __outbox;

            #[automatically_derived]
            impl #impl_generics __outbox::Event for #name #ty_generics #where_clause {
                #topic
                #message_type
                #key
                #content_type
                #payload
            }
        };
    }
}

fn topic(shapes: &[Shape]) -> TokenStream {
    let topics = each(shapes, |shape| {
        let topic = &shape.topic;
        quote!({ .. } => #topic)
    });
    quote! {
        fn topic(&self) -> &::core::primitive::str {
            #topics
        }
    }
}

fn message_type(shapes: &[Shape]) -> TokenStream {
    let none = quote!(::core::option::Option::None);
    let types = each(shapes, |shape| {
        let some = |text| quote!(::core::option::Option::Some(#text));
        let message_type = shape.message_type.as_ref().map_or_else(|| none.clone(), some);
        quote!({ .. } => #message_type)
    });
    quote! {
        fn message_type(&self) -> ::core::option::Option<&::core::primitive::str> {
            #types
        }
    }
}

fn key(shapes: &[Shape]) -> TokenStream {
    let keys = each(shapes, |shape| match &shape.key {
        Some(Key::Field(member, ty)) => {
            let span = at(ty.span());
            let key = if inside_option(ty).is_some() {
                quote_spanned! {span=>
                    ::core::option::Option::as_ref(__key).map(__outbox::Printed::print)
                }
            } else {
                quote_spanned! {span=>
                    ::core::option::Option::Some(__outbox::Printed::print(__key))
                }
            };
            quote!({ #member: __key, .. } => #key)
        }
        Some(Key::Function(function)) => {
            let (call, span) = (call(function), at(function.span));
            let key = quote_spanned!(span=> __outbox::IntoKey::into_key(#call));
            quote!({ .. } => #key)
        }
        None => quote!({ .. } => ::core::option::Option::None),
    });
    quote! {
        fn key(&self) -> ::core::option::Option<::std::string::String> {
            #keys
        }
    }
}

fn content_type(event: &Event) -> Option<TokenStream> {
    let content_type = event.content_type.as_ref()?;
    Some(quote! {
        fn content_type(&self) -> &::core::primitive::str {
            #content_type
        }
    })
}

fn payload(event: &Event) -> TokenStream {
    let own = event.payload.as_ref().map(|function| {
        let (call, span) = (call(function), at(function.span));
        quote_spanned!(span=> __outbox::IntoPayload::into_payload(#call))
    });
    let json = || quote_spanned!(at(event.name.span())=> __outbox::Json::json(self));
    let payload = own.unwrap_or_else(json);
    quote! {
        fn payload(
            &self,
        ) -> ::core::result::Result<__outbox::Bytes, __outbox::InvalidMessage> {
            #payload
        }
    }
}

/// A `match` with what `arm` gives for each shape, behind the shape's name.
fn each(shapes: &[Shape], arm: impl Fn(&Shape) -> TokenStream) -> TokenStream {
    let arms = shapes.iter().map(|shape| {
        let variant = shape.variant.as_ref().map(|variant| quote!(::#variant));
        let arm = arm(shape);
        quote!(Self #variant #arm,)
    });
    quote!(match self { #(#arms)* })
}

fn call(function: &Function) -> TokenStream {
    let path = &function.path;
    quote_spanned!(at(function.span)=> #path(self))
}

/// The generics of the type, and what is asked of them. A type without type parameters gets no
/// bounds: without them, it is told in plainer words what it lacks.
fn bounded(event: &Event) -> Generics {
    let mut generics = event.generics.clone();
    if generics.type_params().next().is_none() {
        return generics;
    }
    let bounds = &mut generics.make_where_clause().predicates;
    if event.payload.is_none() {
        let span = at(event.name.span());
        bounds.push(parse_quote_spanned!(span=> Self: __outbox::Json));
    }
    for shape in &event.shapes {
        if let Some(Key::Field(_, ty)) = &shape.key {
            let printed = inside_option(ty).unwrap_or(ty);
            bounds.push(parse_quote!(#printed: __outbox::Printed));
        }
    }
    generics
}

/// `T` of an `Option<T>`, by whichever path it is named.
fn inside_option(ty: &Type) -> Option<&Type> {
    let ty = match ty {
        // What a fragment of `macro_rules` comes in.
        Type::Group(group) => &group.elem,
        other => other,
    };
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|last| last.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(inner)) if arguments.args.len() == 1 => Some(inner),
        _ => None,
    }
}

/// The place of `span` for the compiler's messages, and nothing else of it.
fn at(span: Span) -> Span {
    Span::call_site().located_at(span)
}
