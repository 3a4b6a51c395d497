//! What an event is, once all that its attributes say has been checked.

use proc_macro2::Span;
use syn::parse::{Error, Result};
use syn::{Data, DeriveInput, Fields, Generics, Ident, LitStr, Member, Path, Type};

use crate::attribute::{Attributes, Function, Place};

pub(crate) struct Event {
    pub(crate) name: Ident,
    pub(crate) generics: Generics,
    /// Where the traits are found, if the user says so.
    pub(crate) krate: Option<Path>,
    pub(crate) content_type: Option<LitStr>,
    pub(crate) payload: Option<Function>,
    pub(crate) shapes: Vec<Shape>,
}

/// A struct, or one variant of an enum.
pub(crate) struct Shape {
    /// The variant.
    pub(crate) variant: Option<Ident>,
    pub(crate) topic: LitStr,
    pub(crate) message_type: Option<LitStr>,
    pub(crate) key: Option<Key>,
}

#[derive(Clone)]
pub(crate) enum Key {
    Field(Member, Type),
    Function(Function),
}

impl Event {
    /// Every mistake is told, not only the first.
    pub(crate) fn read(input: DeriveInput) -> Result<Self> {
        let mut mistakes = Mistakes::default();
        let defaults = mistakes.note(Attributes::read(&input.attrs, Place::Type));
        let shapes = match &defaults {
            Some(defaults) => shapes(&input, defaults, &mut mistakes),
            None => Vec::new(),
        };
        let defaults = defaults.unwrap_or_default();
        mistakes.note(check_payload(&defaults));
        mistakes.end()?;
        let Attributes { krate, content_type, payload, .. } = defaults;
        let DeriveInput { ident: name, generics, .. } = input;
        Ok(Self { name, generics, krate, content_type, payload, shapes })
    }
}

fn shapes(input: &DeriveInput, defaults: &Attributes, mistakes: &mut Mistakes) -> Vec<Shape> {
    match &input.data {
        Data::Struct(data) => {
            let own = Attributes::default();
            let key = key(&data.fields, defaults.key.as_ref(), mistakes);
            shape(None, own, key, defaults, &input.ident, mistakes).into_iter().collect()
        }
        Data::Enum(data) if data.variants.is_empty() => {
            let complaint = "an enum without variants is no event";
            mistakes.add(Error::new(input.ident.span(), complaint));
            Vec::new()
        }
        Data::Enum(data) => {
            let variants = data.variants.iter();
            let shapes = variants.filter_map(|variant| {
                let own = mistakes.note(Attributes::read(&variant.attrs, Place::Variant));
                let own_key = own.as_ref().and_then(|own| own.key.as_ref());
                let key = key(&variant.fields, own_key, mistakes);
                let key = key.or_else(|| defaults.key.clone().map(Key::Function));
                shape(Some(&variant.ident), own?, key, defaults, &variant.ident, mistakes)
            });
            shapes.collect()
        }
        Data::Union(data) => {
            let complaint = "an event is a struct or an enum: a union doesn't know what it holds";
            mistakes.add(Error::new(data.union_token.span, complaint));
            Vec::new()
        }
    }
}

/// What `own` leaves open, `defaults` says.
fn shape(
    variant: Option<&Ident>,
    own: Attributes,
    key: Option<Key>,
    defaults: &Attributes,
    place: &Ident,
    mistakes: &mut Mistakes,
) -> Option<Shape> {
    let Some(topic) = own.topic.or_else(|| defaults.topic.clone()) else {
        let also = if variant.is_some() { ", here or at the enum" } else { "" };
        let complaint = format!("the topic is missing: add `#[event(topic = \"…\")]`{also}");
        mistakes.add(Error::new(place.span(), complaint));
        return None;
    };
    let message_type = own.message_type.or_else(|| defaults.message_type.clone());
    Some(Shape { variant: variant.cloned(), topic, message_type, key })
}

/// The one key: a field that says it is, or what `function` gives.
fn key(fields: &Fields, function: Option<&Function>, mistakes: &mut Mistakes) -> Option<Key> {
    let mut key = function.cloned().map(Key::Function);
    for (member, field) in fields.members().zip(fields) {
        let own = mistakes.note(Attributes::read(&field.attrs, Place::Field));
        let Some(marked) = own.and_then(|own| own.is_key) else { continue };
        if key.is_some() {
            mistakes.add(Error::new(marked, "a second key: an event has one"));
        }
        key = Some(Key::Field(member, field.ty.clone()));
    }
    key
}

/// A payload must be what its content type says, or consumers can't read it.
fn check_payload(attributes: &Attributes) -> Result<()> {
    let at = |span: Span, complaint: &str| Err(Error::new(span, complaint));
    match (&attributes.content_type, &attributes.payload) {
        (None, Some(payload)) => {
            at(payload.span, "a payload of one's own needs a `content_type` too")
        }
        (Some(content_type), None) if !is_json(&content_type.value()) => {
            let complaint = "the payload is JSON unless `payload = \"…\"` names a function";
            at(content_type.span(), complaint)
        }
        _ => Ok(()),
    }
}

/// Whether it is a JSON media type, by RFC 6839 one whose suffix is `+json` too.
fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// All mistakes so far.
#[derive(Default)]
struct Mistakes(Option<Error>);

impl Mistakes {
    fn add(&mut self, mistake: Error) {
        match &mut self.0 {
            Some(mistakes) => mistakes.combine(mistake),
            None => self.0 = Some(mistake),
        }
    }

    fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|mistake| self.add(mistake)).ok()
    }

    fn end(self) -> Result<()> {
        self.0.map_or(Ok(()), Err)
    }
}
