//! A service between the adapter and the real one, whose answers a test decides.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use outbox_core::Message;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Hands requests on to the real service, but for what it is told. Dropping it closes its port and
/// all connections.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    script: Arc<Mutex<Script>>,
    _tasks: JoinSet<()>,
}

#[derive(Default)]
struct Script {
    /// Entries of these message ids fail so, once.
    entries: HashMap<String, Value>,
    /// The next request is answered so: status and body.
    answer: Option<(u16, String)>,
    /// Requests in which that stands are answered so.
    refused: Option<(String, u16, String)>,
    /// What the last request was signed by: id of the access key, day, region.
    credential: String,
    /// How many requests there were, of any kind.
    requests: usize,
    /// The most entries of one.
    most_entries: usize,
}

impl Service {
    pub(crate) async fn start(real: SocketAddr) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), real).await
    }

    pub(crate) async fn start_at(address: SocketAddr, real: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let mut tasks = JoinSet::new();
        let told = script.clone();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let told = told.clone();
                connections.spawn(async move {
                    let _ = serve(client, real, &told).await;
                });
            }
        });
        Self { address, script, _tasks: tasks }
    }

    /// SQS itself takes the others.
    pub(crate) fn fail(&self, message: &Message, code: &str, sender_fault: bool) {
        let error = json!({ "Code": code, "SenderFault": sender_fault, "Message": "says so" });
        self.script.lock().unwrap().entries.insert(message.id().to_string(), error);
    }

    /// Nothing of the next request is sent on.
    pub(crate) fn answer_next(&self, status: u16, body: &str) {
        self.script.lock().unwrap().answer = Some((status, body.to_owned()));
    }

    /// Nothing of requests that name that, a queue or the id of a message, is sent on.
    pub(crate) fn refuse(&self, name: &impl ToString, status: u16, body: &str) {
        let refused = Some((name.to_string(), status, body.to_owned()));
        self.script.lock().unwrap().refused = refused;
    }

    /// All is sent on again.
    pub(crate) fn refuse_nothing(&self) {
        self.script.lock().unwrap().refused = None;
    }

    pub(crate) fn credential(&self) -> String {
        self.script.lock().unwrap().credential.clone()
    }

    pub(crate) fn requests(&self) -> usize {
        self.script.lock().unwrap().requests
    }

    pub(crate) fn most_entries(&self) -> usize {
        self.script.lock().unwrap().most_entries
    }
}

async fn serve(mut client: TcpStream, real: SocketAddr, script: &Mutex<Script>) -> io::Result<()> {
    loop {
        let (head, body) = read(&mut client).await?;
        let is_send = head.to_ascii_lowercase().contains("amazonsqs.sendmessagebatch\r\n");
        let (answer, failed, body) = {
            let mut script = script.lock().unwrap();
            script.requests += 1;
            let credential =
                head.split_once("Credential=").map(|(_, after)| after.split(',').next());
            credential.flatten().unwrap_or_default().clone_into(&mut script.credential);
            let text = String::from_utf8_lossy(&body).into_owned();
            let refused = script.refused.clone().filter(|(name, ..)| text.contains(name));
            let refused = refused.map(|(_, status, answer)| (status, answer));
            let sent = if is_send { take_failing(&mut script, &body) } else { (Vec::new(), body) };
            (script.answer.take().or(refused), sent.0, sent.1)
        };
        let (status, answer) = match answer {
            Some((status, answer)) => (status.to_string(), answer.into_bytes()),
            None => forward(real, &head, &body, failed).await?,
        };
        let head = format!(
            "HTTP/1.1 {status} x\r\ncontent-type: application/x-amz-json-1.0\r\n\
             content-length: {}\r\n\r\n",
            answer.len()
        );
        client.write_all(head.as_bytes()).await?;
        client.write_all(&answer).await?;
    }
}

/// Status and body of the real service's answer, to which what failed is added.
async fn forward(
    real: SocketAddr,
    head: &str,
    body: &[u8],
    failed: Vec<Value>,
) -> io::Result<(String, Vec<u8>)> {
    // The real one ends a connection after each answer.
    let mut upstream = TcpStream::connect(real).await?;
    let (first, rest) = head.split_once("\r\n").unwrap();
    let mut request = format!("{first}\r\ncontent-length: {}\r\n", body.len());
    let is_length = |line: &&str| line.to_ascii_lowercase().starts_with("content-length:");
    request.extend(rest.split_inclusive("\r\n").filter(|line| !is_length(line)));
    upstream.write_all(request.as_bytes()).await?;
    upstream.write_all(body).await?;
    let (head, answer) = read(&mut upstream).await?;
    Ok((head.split(' ').nth(1).unwrap().to_owned(), with_failed(&answer, failed)))
}

/// Takes the entries out that are to fail.
fn take_failing(script: &mut Script, body: &[u8]) -> (Vec<Value>, Vec<u8>) {
    let mut request: Value = serde_json::from_slice(body).unwrap();
    let entries = request["Entries"].as_array_mut().unwrap();
    script.most_entries = script.most_entries.max(entries.len());
    let mut failed = Vec::new();
    entries.retain(|entry| {
        let id = entry["MessageAttributes"]["outbox-id"]["StringValue"].as_str().unwrap();
        let Some(mut error) = script.entries.remove(id) else { return true };
        error["Id"] = entry["Id"].clone();
        failed.push(error);
        false
    });
    (failed, request.to_string().into_bytes())
}

fn with_failed(answer: &[u8], failed: Vec<Value>) -> Vec<u8> {
    if failed.is_empty() {
        return answer.to_vec();
    }
    let mut answer: Value = serde_json::from_slice(answer).unwrap();
    answer["Failed"] = failed.into();
    answer.to_string().into_bytes()
}

/// Head and body of a request or an answer.
async fn read(from: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(from.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let mut body = vec![0; length.expect("it has a length")];
    from.read_exact(&mut body).await?;
    Ok((head, body))
}
