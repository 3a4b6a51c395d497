//! The outbox's own parameters of a store's URL.

/// A store's URL, taken apart.
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(test, derive(Debug))]
pub(super) struct Options {
    /// What is left for the database driver. It may hold a password.
    pub(super) url: String,
    /// The names of the driver's parameters.
    pub(super) parameters: Vec<String>,
    /// `outbox_prefix`.
    pub(super) prefix: Option<String>,
    /// `outbox_schema`.
    pub(super) schema: Option<String>,
}

impl Options {
    /// Takes the outbox's parameters out of `url`, or says what is wrong with it without quoting
    /// it.
    pub(super) fn read(url: &str) -> Result<Self, String> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut options =
            Self { url: base.to_owned(), parameters: Vec::new(), prefix: None, schema: None };
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let place = match name {
                "outbox_prefix" => &mut options.prefix,
                "outbox_schema" => &mut options.schema,
                _ if name.starts_with("outbox_") => {
                    return Err("of the parameters that begin with `outbox_` there are only \
                                `outbox_prefix` and `outbox_schema`"
                        .into());
                }
                _ => {
                    options.url.push(if options.parameters.is_empty() { '?' } else { '&' });
                    options.url.push_str(parameter);
                    options.parameters.push(name.to_owned());
                    continue;
                }
            };
            if place.replace(value.to_owned()).is_some() {
                return Err(format!("`{name}` is there twice"));
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outboxs_parameters_are_taken_out_wherever_they_stand() {
        let query = "outbox_prefix=events&sslmode=require&outbox_schema=billing&user=a";
        let options = Options::read(&format!("postgres://h/d?{query}")).unwrap();
        assert_eq!(options.url, "postgres://h/d?sslmode=require&user=a");
        assert_eq!(options.parameters, ["sslmode", "user"]);
        assert_eq!(options.prefix.as_deref(), Some("events"));
        assert_eq!(options.schema.as_deref(), Some("billing"));
        let only = Options::read("sqlite:a.db?outbox_prefix=events").unwrap();
        assert_eq!(only.url, "sqlite:a.db");
    }

    #[test]
    fn a_parameter_that_does_not_exist_or_stands_twice_is_refused() {
        let error = |url| Options::read(url).unwrap_err();
        assert!(error("sqlite:a?outbox_prefx=canary").contains("only `outbox_prefix`"));
        let twice = error("sqlite:a?outbox_prefix=a&outbox_prefix=b");
        assert_eq!(twice, "`outbox_prefix` is there twice");
    }
}
