//! The client, and what of it tells whether a request was sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{
    Builder, ConfigBag, Credentials, Intercept, RuntimeComponents, StalledStreamProtectionConfig,
};
use aws_sdk_sqs::error::BoxError;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use secrecy::ExposeSecret;

use crate::http::http;
use crate::{SqsConfig, SqsError};

/// A client that sends each request once. It connects when it is used.
pub(crate) async fn client(config: &SqsConfig) -> Result<Client, SqsError> {
    config.check()?;
    let own = http(config)?;
    // By the SDK's, access keys are fetched where the environment has none.
    let tls = Provider::Rustls(CryptoMode::Ring);
    let sdks = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
    let mut loader = aws_config::defaults(BehaviorVersion::latest()).http_client(sdks);
    if let Some(region) = &config.region {
        loader = loader.region(Region::new(region.clone()));
    }
    if let (Some(id), Some(secret)) = (&config.access_key_id, &config.secret_access_key) {
        let token = config.session_token.as_ref().map(|token| token.expose_secret().to_owned());
        let secret = secret.expose_secret();
        loader = loader.credentials_provider(Credentials::new(id, secret, token, None, "outbox"));
    }
    let environment = loader.load().await;
    if environment.region().is_none() {
        return Err(SqsError::Config("no region is known: give the option `region`"));
    }
    let mut builder = Builder::from(&environment)
        .http_client(own)
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    if let Some(endpoint) = &config.endpoint {
        builder = builder.endpoint_url(endpoint);
    }
    Ok(Client::from_conf(builder.build()))
}

/// Notes when a request is handed to the connection. Before that there are the access key to get,
/// perhaps by other requests, and the signature to make.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handed(Arc<AtomicBool>);

impl Handed {
    /// Whether it was handed over, so that bytes of it may have been sent.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

impl Intercept for Handed {
    fn name(&self) -> &'static str {
        "Handed"
    }

    fn read_before_transmit(
        &self,
        _: &BeforeTransmitInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}
