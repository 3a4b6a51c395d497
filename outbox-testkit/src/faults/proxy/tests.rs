use std::time::Instant;

use tokio::net::TcpListener;

use super::*;

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that sends back what it hears, behind a proxy.
async fn echo() -> Proxy {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut from, mut to) = client.split();
                tokio::io::copy(&mut from, &mut to).await
            });
        }
    });
    proxy
}

async fn connect(proxy: &Proxy) -> TcpStream {
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    ask(&mut client).await.unwrap();
    client
}

/// What comes back.
async fn ask(client: &mut TcpStream) -> io::Result<usize> {
    client.write_all(b"?").await?;
    hear(client).await
}

async fn hear(client: &mut TcpStream) -> io::Result<usize> {
    tokio::time::timeout(PATIENCE, client.read(&mut [0; 8])).await.expect("it hears something")
}

async fn is_silent(client: &mut TcpStream) -> bool {
    let mut bytes = [0; 8];
    tokio::time::timeout(Duration::from_millis(200), client.read(&mut bytes)).await.is_err()
}

#[tokio::test]
async fn connections_that_are_cut_end() {
    let proxy = echo().await;
    let mut client = connect(&proxy).await;
    proxy.cut();
    assert_eq!(hear(&mut client).await.unwrap(), 0);
    connect(&proxy).await;
}

#[tokio::test]
async fn connections_that_are_reset_end_in_an_error() {
    let proxy = echo().await;
    let mut client = connect(&proxy).await;
    proxy.reset();
    let error = hear(&mut client).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    connect(&proxy).await;
}

#[tokio::test]
async fn a_half_open_connection_swallows_what_is_sent_until_it_is_cut() {
    let proxy = echo().await;
    let mut client = connect(&proxy).await;
    proxy.half_open();
    // The next one is as usual, so that this one has been half open since then.
    connect(&proxy).await;
    client.write_all(b"?").await.unwrap();
    assert!(is_silent(&mut client).await, "somebody answers");
    proxy.cut();
    assert!(matches!(hear(&mut client).await, Err(_) | Ok(0)));
}

#[tokio::test]
async fn what_is_delayed_arrives_later_and_soon_again_afterwards() {
    let proxy = echo().await;
    let mut client = connect(&proxy).await;
    let late = Duration::from_millis(100);
    let delayed = proxy.delay(late);
    let begun = Instant::now();
    assert_eq!(ask(&mut client).await.unwrap(), 1);
    assert!(begun.elapsed() >= late * 2, "there and back: {:?}", begun.elapsed());
    drop(delayed);
    assert_eq!(ask(&mut client).await.unwrap(), 1);
}

#[tokio::test]
async fn what_is_held_arrives_when_it_is_let_go() {
    let proxy = echo().await;
    let mut client = connect(&proxy).await;
    let held = proxy.hold_all();
    client.write_all(b"?").await.unwrap();
    assert!(is_silent(&mut client).await, "somebody answers");
    drop(held);
    assert_eq!(hear(&mut client).await.unwrap(), 1);
}
