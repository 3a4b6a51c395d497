//! `#[event(…)]`, as it is written.

use proc_macro2::Span;
use syn::meta::ParseNestedMeta;
use syn::parse::{Error, Parse, Parser, Result};
use syn::spanned::Spanned;
use syn::{Attribute, ExprPath, LitStr, Path};

/// Where an attribute stands, and so what it may say.
#[derive(Clone, Copy)]
pub(crate) enum Place {
    Type,
    Variant,
    Field,
}

/// All that the attributes of one place say.
#[derive(Default)]
pub(crate) struct Attributes {
    pub(crate) topic: Option<LitStr>,
    pub(crate) message_type: Option<LitStr>,
    pub(crate) content_type: Option<LitStr>,
    pub(crate) key: Option<Function>,
    pub(crate) payload: Option<Function>,
    pub(crate) krate: Option<Path>,
    /// Where a field says that it is the key.
    pub(crate) is_key: Option<Span>,
}

/// A function of the user, and where it is named.
#[derive(Clone)]
pub(crate) struct Function {
    pub(crate) path: ExprPath,
    pub(crate) span: Span,
}

impl Place {
    fn name(self) -> &'static str {
        match self {
            Self::Type => "a type",
            Self::Variant => "a variant",
            Self::Field => "a field",
        }
    }

    fn takes(self) -> &'static [&'static str] {
        match self {
            Self::Type => &["topic", "type", "key", "content_type", "payload", "crate"],
            Self::Variant => &["topic", "type", "key"],
            Self::Field => &["key"],
        }
    }
}

impl Attributes {
    pub(crate) fn read(attributes: &[Attribute], place: Place) -> Result<Self> {
        let mut all = Self::default();
        for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("event")) {
            attribute.parse_nested_meta(|meta| all.read_one(&meta, place))?;
        }
        Ok(all)
    }

    fn read_one(&mut self, meta: &ParseNestedMeta<'_>, place: Place) -> Result<()> {
        let name = meta.path.get_ident().map(ToString::to_string).unwrap_or_default();
        if !place.takes().contains(&name.as_str()) {
            let (place, takes) = (place.name(), place.takes().join("`, `"));
            return Err(meta.error(format!("unknown attribute: {place} takes `{takes}`")));
        }
        match (name.as_str(), place) {
            ("key", Place::Field) => {
                if meta.input.peek(syn::Token![=]) {
                    return Err(meta.error("a field that is the key takes no value"));
                }
                set(&mut self.is_key, meta, meta.path.span())
            }
            ("topic", _) => set(&mut self.topic, meta, text(meta, TOPIC)?),
            ("type", _) => set(&mut self.message_type, meta, text(meta, NAME)?),
            ("content_type", _) => set(&mut self.content_type, meta, text(meta, NAME)?),
            ("key", _) => set(&mut self.key, meta, function(meta)?),
            ("payload", _) => set(&mut self.payload, meta, function(meta)?),
            _ => set(&mut self.krate, meta, path(meta, Path::parse_mod_style)?.0),
        }
    }
}

/// The longest topic, in bytes, that the limits of a message allow.
const TOPIC: usize = 249;
/// The longest message type and content type.
const NAME: usize = 255;

fn set<T>(value: &mut Option<T>, meta: &ParseNestedMeta<'_>, new: T) -> Result<()> {
    match value.replace(new) {
        Some(_) => Err(complaint(meta.path.span(), meta, "is given twice")),
        None => Ok(()),
    }
}

/// A text that the limits let pass: what every message would be refused for is told here.
fn text(meta: &ParseNestedMeta<'_>, limit: usize) -> Result<LitStr> {
    let literal: LitStr = meta.value()?.parse()?;
    let value = literal.value();
    let wrong = if value.is_empty() {
        "is empty".to_owned()
    } else if value.len() > limit {
        format!("has {} bytes, the limit is {limit}", value.len())
    } else if value.contains(char::is_control) {
        "contains a control character".to_owned()
    } else {
        return Ok(literal);
    };
    Err(complaint(literal.span(), meta, &wrong))
}

fn function(meta: &ParseNestedMeta<'_>) -> Result<Function> {
    let (path, literal) = path(meta, ExprPath::parse)?;
    Ok(Function { path, span: literal.span() })
}

fn path<P: Parser>(meta: &ParseNestedMeta<'_>, parser: P) -> Result<(P::Output, LitStr)> {
    let literal: LitStr = meta.value()?.parse()?;
    match literal.parse_with(parser) {
        Ok(path) => Ok((path, literal)),
        Err(_) => Err(complaint(literal.span(), meta, "must be a path")),
    }
}

fn complaint(span: Span, meta: &ParseNestedMeta<'_>, wrong: &str) -> Error {
    let name = meta.path.get_ident().expect("every known name is one identifier");
    Error::new(span, format!("`{name}` {wrong}"))
}

#[cfg(test)]
mod tests {
    use proc_macro2::TokenStream;
    use quote::quote;
    use syn::parse_quote;

    use super::*;

    /// Seen to fail with either bound greater or smaller by one.
    #[test]
    fn texts_may_be_as_long_as_the_limits_of_messages_allow() {
        let limits = outbox::Limits::default();
        let told = |name: TokenStream, length: usize| {
            let text = "x".repeat(length);
            let attributes: [Attribute; 1] = [parse_quote!(#[event(#name = #text)])];
            Attributes::read(&attributes, Place::Type).err().map(|error| error.to_string())
        };
        for (name, limit) in [
            (quote!(topic), limits.topic),
            (quote!(type), limits.name),
            (quote!(content_type), limits.name),
        ] {
            assert_eq!(told(name.clone(), limit), None);
            let long = format!("`{name}` has {} bytes, the limit is {limit}", limit + 1);
            assert_eq!(told(name, limit + 1), Some(long));
        }
    }
}
