//! The fence of a stream with replicas, which takes one message of a partition after the other.

use async_nats::jetstream::stream;
use outbox_core::Outcome;
use outbox_testkit::servers::{Server, free_ports, nats_newest};

use crate::consumer::Stream;
use crate::publishing::{connect, fenced, ids, is_fenced, keyed, message, publish_as};

/// Three servers.
async fn cluster() -> (Vec<Server>, Stream) {
    let ports = free_ports::<3>();
    let routes = ports.map(|port| format!("\"nats-route://127.0.0.1:{port}\"")).join(", ");
    let mut servers = Vec::new();
    for (n, port) in ports.iter().enumerate() {
        let cluster = format!("{{ name: c, listen: \"127.0.0.1:{port}\", routes: [ {routes} ] }}");
        servers.push(nats_newest(&format!("server_name: n{n}\ncluster {cluster}")).await);
    }
    let config = stream::Config { num_replicas: 3, ..<_>::default() };
    let stream = Stream::create_patiently(&servers[0].url(), config).await;
    (servers, stream)
}

/// Servers before 2.12 are seen (in their source) to remember the id of what they refused, for
/// which `an_old_server_is_refused`. Seen to be unavailable, most of it, when what the stream was too
/// busy for wasn't sent again.
#[tokio::test]
async fn a_stream_with_replicas_is_fenced() {
    let (_servers, stream) = cluster().await;
    let (former, successor) = (connect(fenced(&stream)).await, connect(fenced(&stream)).await);
    let batches = [(); 2].map(|()| keyed(&stream.subject, 0..100));
    let (one, two) =
        tokio::join!(publish_as(&former, 1, &batches[0]), publish_as(&former, 1, &batches[1]));
    assert_eq!([one, two].concat(), vec![Outcome::Delivered; 200]);
    let [after, late] = [(); 2].map(|()| [message(&stream.subject)]);
    assert_eq!(publish_as(&successor, 2, &after).await, [Outcome::Delivered]);
    let refused = publish_as(&former, 1, &late).await;
    assert!(is_fenced(&refused[0], 2), "{refused:?}");
    assert_eq!(publish_as(&successor, 2, &late).await, [Outcome::Delivered]);
    let arrived = stream.arrived().await;
    assert_eq!(arrived.len(), 202);
    assert!(ids(&arrived[200..]) == ids(&[after, late].concat()), "each once");
}

/// Seen to be another when a round had several of them: while the stream is busy with one it refuses
/// the next, and then takes one that comes later.
#[tokio::test]
async fn a_stream_with_replicas_keeps_the_order_of_a_key() {
    let (_servers, stream) = cluster().await;
    let publisher = connect(fenced(&stream)).await;
    let batch: Vec<_> = (0..100).flat_map(|_| keyed(&stream.subject, 7..8)).collect();
    assert_eq!(publish_as(&publisher, 1, &batch).await, vec![Outcome::Delivered; 100]);
    assert_eq!(ids(&stream.arrived().await), ids(&batch));
}
