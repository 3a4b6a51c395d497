//! Connections of diesel-async's by URL, encrypted if that is asked for.

use diesel::ConnectionError;
use diesel::ConnectionResult;
use diesel::result::{DatabaseErrorKind, Error};
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use tokio_postgres::Config;
use tokio_postgres::config::SslMode;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::FromUrl;

impl FromUrl for AsyncPgConnection {
    fn is_url(url: &str) -> bool {
        url.parse::<Config>().is_ok()
    }

    async fn connect(url: &str) -> ConnectionResult<Self> {
        match url.parse::<Config>() {
            Ok(config) if config.get_ssl_mode() == SslMode::Require => encrypted(&config).await,
            _ => Self::establish(url).await,
        }
    }
}

async fn encrypted(config: &Config) -> ConnectionResult<AsyncPgConnection> {
    let connected = config.connect(MakeRustlsConnect::new(tls()?)).await;
    let (client, connection) = connected.map_err(|error| match error.as_db_error() {
        Some(said) => {
            let said = Box::new(said.message().to_owned());
            let error = Error::DatabaseError(DatabaseErrorKind::Unknown, said);
            ConnectionError::CouldntSetupConfiguration(error)
        }
        None => bad(error),
    })?;
    AsyncPgConnection::try_from_client_and_connection(client, connection).await
}

/// Trusts what the system trusts.
fn tls() -> ConnectionResult<rustls::ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = rustls::crypto::ring::default_provider();
    let config = rustls::ClientConfig::builder_with_provider(provider.into());
    let config = config.with_safe_default_protocol_versions().map_err(bad)?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn bad(error: impl std::error::Error) -> ConnectionError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    ConnectionError::BadConnection(text)
}
