//! The connections to SQS. They are cut as soon as a request is given up.
//!
//! The SDK's own client closes such a connection in its own time, and the system goes on sending what
//! it has taken of the request: hundreds of kilobytes may arrive when the call is long over.

use std::fmt;
use std::io::{Error, ErrorKind, IoSlice, Result as IoResult};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll};

use aws_sdk_sqs::config::SharedHttpClient;
use aws_sdk_sqs::config::http::{HttpRequest, HttpResponse};
use aws_sdk_sqs::error::{BoxError, ConnectorError};
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_types::body::SdkBody;
use http::{Extensions, Request, Response, Uri};
use http_body_util::BodyExt;
use hyper_rustls::{HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::{
    CaptureConnection, Connected, Connection, HttpConnector as Tcp, capture_connection,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use outbox_core::Reason;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tower::ServiceExt;
use tower::timeout::Timeout;
use tower::util::BoxCloneSyncService;

use crate::{SqsConfig, SqsError};

/// What the SDK sends its requests by.
pub(crate) fn http(config: &SqsConfig) -> Result<SharedHttpClient, SqsError> {
    let connector = SharedHttpConnector::new(connector(config)?);
    Ok(http_client_fn(move |_, _| connector.clone()))
}

/// By HTTP/1.1, so that a connection has one request at a time.
fn connector(config: &SqsConfig) -> Result<Http, SqsError> {
    let mut tcp = Tcp::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let tcp = tower::service_fn(move |uri: Uri| {
        let tcp = tcp.clone();
        async move {
            let stream = tcp.oneshot(uri).await?.into_inner();
            // What the system hasn't sent yet when it is closed is dropped, not sent.
            stream.set_zero_linger()?;
            Ok::<_, BoxError>(TokioIo::new(Socket(Arc::new(Mutex::new(Some(stream))))))
        }
    });
    let builder = HttpsConnectorBuilder::new().with_tls_config(tls(config)?);
    let https = builder.https_or_http().enable_http1().wrap_connector(tcp);
    let connect = BoxCloneSyncService::new(Timeout::new(https, config.connect_timeout()));
    let mut builder = legacy::Client::builder(TokioExecutor::new());
    Ok(Http(builder.pool_timer(TokioTimer::new()).build(connect)))
}

/// Trusts the authorities of the option `ca`, or the system's.
fn tls(config: &SqsConfig) -> Result<ClientConfig, SqsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &config.ca {
        let unusable = |error: &dyn std::error::Error| {
            let reason = Reason::of(error);
            SqsError::Certificates(Reason::new(format!("{}: {reason}", path.display())))
        };
        let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unusable(&error))?;
        for certificate in certificates {
            let certificate = certificate.map_err(|error| unusable(&error))?;
            roots.add(certificate).map_err(|error| unusable(&error))?;
        }
        if roots.is_empty() {
            let says = format!("{}: it has no certificate", path.display());
            return Err(SqsError::Certificates(Reason::new(says)));
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().expect("ring has them");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

type Connect = BoxCloneSyncService<Uri, MaybeHttpsStream<TokioIo<Socket>>, BoxError>;

#[derive(Debug)]
struct Http(legacy::Client<Connect, SdkBody>);

impl HttpConnector for Http {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x();
            let mut request = request.map_err(|error| ConnectorError::user(error.into()))?;
            let mut cut = Cut::unless_answered(&mut request);
            let answer = client.request(request).await;
            let answer = answer.map_err(|error| ConnectorError::io(error.into()))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| ConnectorError::io(error.into()))?;
            cut.0 = None;
            let answer = Response::from_parts(head, SdkBody::from(body.to_bytes()));
            let answer = HttpResponse::try_from(answer);
            answer.map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// Cuts the connection of a request when it is dropped before there is an answer.
struct Cut(Option<CaptureConnection>);

impl Cut {
    fn unless_answered<B>(request: &mut Request<B>) -> Self {
        Self(Some(capture_connection(request)))
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        let Some(connection) = self.0.take() else { return };
        let mut extras = Extensions::new();
        if let Some(connected) = connection.connection_metadata().as_ref() {
            connected.get_extras(&mut extras);
        }
        if let Some(socket) = extras.get::<Handle>().and_then(|handle| handle.0.upgrade()) {
            // With its linger of zero this ends it before it returns.
            drop(lock(&socket).take());
        }
    }
}

type Shared = Mutex<Option<TcpStream>>;

/// A connection, until it is cut.
struct Socket(Arc<Shared>);

/// By which it can be cut. It does not keep it open.
#[derive(Clone)]
struct Handle(Weak<Shared>);

fn lock(socket: &Shared) -> MutexGuard<'_, Option<TcpStream>> {
    socket.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Socket {
    fn with<T>(
        &self,
        act: impl FnOnce(Pin<&mut TcpStream>) -> Poll<IoResult<T>>,
    ) -> Poll<IoResult<T>> {
        match lock(&self.0).as_mut() {
            Some(stream) => act(Pin::new(stream)),
            None => Poll::Ready(Err(Error::from(ErrorKind::ConnectionAborted))),
        }
    }
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new().extra(Handle(Arc::downgrade(&self.0)))
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<IoResult<()>> {
        self.with(|stream| stream.poll_read(cx, into))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<IoResult<usize>> {
        self.with(|stream| stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<IoResult<usize>> {
        self.with(|stream| stream.poll_write_vectored(cx, bytes))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        self.with(|stream| stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<IoResult<()>> {
        self.with(|stream| stream.poll_shutdown(cx))
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Socket")
    }
}

#[cfg(test)]
mod tests {
    use std::io::{copy, sink};

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    /// Nothing else runs on this thread between the drop and the look at it. Seen to fail with a linger
    /// of zero alone, by which the connection ends when the client's task runs.
    #[tokio::test]
    async fn a_request_that_is_dropped_is_cut_off_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = format!("sqs://id:key@{address}?region=r-1").parse().unwrap();
        let request = Request::post(format!("http://{address}/"));
        let request = request.body(SdkBody::from("x".repeat(1024 * 1024))).unwrap();
        let request = HttpRequest::try_from(request).unwrap();
        let mut call = Box::pin(connector(&config).unwrap().call(request));
        let begun = async {
            let (mut peer, _) = listener.accept().await.unwrap();
            peer.read_u8().await.unwrap();
            peer.into_std().unwrap()
        };
        let mut peer = tokio::select! {
            peer = begun => peer,
            answer = &mut call => panic!("{answer:?}"),
        };
        drop(call);
        let error = copy(&mut peer, &mut sink()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
