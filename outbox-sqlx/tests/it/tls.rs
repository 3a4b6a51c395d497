//! Databases over TLS: only to a server whose certificate is trusted and bears its name.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use outbox_core::{Store as _, StoreErrorKind};
use outbox_sqlx::{SqlxDriver, Store, StoreConfig, migrate};
use outbox_testkit::servers::Certificates;
use sqlx::{MySql, Postgres};

use crate::server::{Serve, Server};
use crate::support::{Kind as _, fetch_all};

/// A database's words for it.
trait Encrypted: Serve {
    /// What of a URL trusts that authority, for the server's name as it is in the URL.
    fn verified(authority: &Path) -> String;

    /// The same, whatever the server's name.
    fn trusted(authority: &Path) -> String;

    /// Trusts the authorities of the web.
    const OF_THE_WEB: &'static str;

    /// Doesn't encrypt.
    const CLEAR: &'static str;

    const SCHEME: &'static str;

    /// One that every server has.
    const DATABASE: &'static str;

    /// Makes the user `relay`, whom the server lets in over TLS only.
    async fn make_user(server: &Server<Self>);
}

impl Encrypted for Postgres {
    fn verified(authority: &Path) -> String {
        format!("?sslmode=verify-full&sslrootcert={}", authority.display())
    }

    fn trusted(authority: &Path) -> String {
        format!("?sslmode=verify-ca&sslrootcert={}", authority.display())
    }

    const OF_THE_WEB: &'static str = "?sslmode=verify-full";
    const CLEAR: &'static str = "?sslmode=disable";
    const SCHEME: &'static str = "postgres";
    const DATABASE: &'static str = "postgres";

    async fn make_user(server: &Server<Self>) {
        Self::sql(server.pool(), "CREATE ROLE relay LOGIN SUPERUSER".to_owned()).await.unwrap();
    }
}

impl Encrypted for MySql {
    fn verified(authority: &Path) -> String {
        format!("?ssl-mode=VERIFY_IDENTITY&ssl-ca={}", authority.display())
    }

    fn trusted(authority: &Path) -> String {
        format!("?ssl-mode=VERIFY_CA&ssl-ca={}", authority.display())
    }

    const OF_THE_WEB: &'static str = "?ssl-mode=VERIFY_IDENTITY";
    const CLEAR: &'static str = "?ssl-mode=DISABLED";
    const SCHEME: &'static str = "mysql";
    const DATABASE: &'static str = "mysql";

    async fn make_user(server: &Server<Self>) {
        let create = "CREATE USER relay REQUIRE SSL; GRANT ALL ON *.* TO relay";
        Self::sql(server.pool(), create.to_owned()).await.unwrap();
    }
}

async fn store<DB: Encrypted>(url: &str) -> Result<Store<DB>, Box<dyn Error + Send + Sync>> {
    let driver = SqlxDriver::<DB>::from_url(url)?;
    let names = outbox_sqlx::Names {
        schema: Some(outbox_sqlx::Identifier::new(crate::server::SCHEMA)?),
        ..outbox_sqlx::Names::default()
    };
    migrate(&driver, &names, 4).await?;
    Ok(Store::open(driver, StoreConfig { names, ..StoreConfig::default() }).await?)
}

/// What is refused says why.
async fn refused<DB: Encrypted>(url: &str) {
    let error = store::<DB>(url).await.err().unwrap_or_else(|| panic!("{url} is accepted"));
    let said = outbox_core::Reason::of(&*error);
    assert!(said.as_str().contains("certificate"), "{url}: {said:?}");
    let kind = error.downcast_ref::<outbox_core::StoreError>().unwrap().kind();
    assert_eq!(kind, StoreErrorKind::Unavailable);
}

async fn only_a_trusted_server_is_spoken_to<DB: Encrypted>() {
    let (ours, others) = (Arc::new(Certificates::new()), Certificates::new());
    let (our, other) = (ours.path("ca.pem"), others.path("ca.pem"));
    let server = Server::<DB>::start_encrypted(&ours).await;
    DB::make_user(&server).await;
    let address = format!("{}://relay@{}/{}", DB::SCHEME, server.address(), DB::DATABASE);
    assert!(store::<DB>(&format!("{address}{}", DB::CLEAR)).await.is_err(), "in the clear");
    let verified = store::<DB>(&format!("{address}{}", DB::verified(&our))).await.unwrap();
    verified.fetch(&fetch_all()).await.unwrap();
    // The certificate is for 127.0.0.1.
    let by_name = address.replace("127.0.0.1", "localhost");
    store::<DB>(&format!("{by_name}{}", DB::trusted(&our))).await.unwrap();
    refused::<DB>(&format!("{by_name}{}", DB::verified(&our))).await;
    refused::<DB>(&format!("{address}{}", DB::verified(&other))).await;
    refused::<DB>(&format!("{address}{}", DB::trusted(&other))).await;
    refused::<DB>(&format!("{address}{}", DB::OF_THE_WEB)).await;
}

#[tokio::test]
async fn only_a_trusted_postgres_is_spoken_to() {
    only_a_trusted_server_is_spoken_to::<Postgres>().await;
}

#[tokio::test]
async fn only_a_trusted_mariadb_is_spoken_to() {
    only_a_trusted_server_is_spoken_to::<MySql>().await;
}

/// A server that doesn't speak TLS isn't spoken to in the clear.
#[tokio::test]
async fn who_wants_encryption_gets_no_other() {
    let server = Server::<Postgres>::start().await;
    for mode in ["require", "verify-ca", "verify-full"] {
        let plain = store::<Postgres>(&format!(
            "postgres://outbox@{}/postgres?sslmode={mode}",
            server.address()
        ))
        .await;
        assert!(plain.is_err(), "{mode}");
    }
}
