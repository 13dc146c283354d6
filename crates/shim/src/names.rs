//! Name servers that listen on the loopback interface of the sandbox's network namespace, which its VM does not reach: docker's own, on
//! 127.0.0.11, for networks that have names. The guest's agent listens on the same address, and what it is asked is asked here, in that
//! namespace ([`isopod_contract::names`]).
//!
//! A guest decides what it asks and how often, and nothing else: not whom. It gets [`MAX_NAME_QUESTIONS`] sockets to each server, each
//! for [`ANSWER_WITHIN`].

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isopod_contract::message::HostStream;
use isopod_contract::names::{
    MAX_NAME_QUESTIONS, MAX_NAME_SERVERS, NAME_HEAD_BYTES, NAMES_PORT, NameAnswer, NameQuestion,
    NameTransport,
};
use isopod_contract::network::InterfaceAnswer;
use isopod_protocol::codec::{read_message, write_message};
use isopod_protocol::names;
use isopod_runtime::control;
use isopod_runtime::resolver::nameservers;
use isopod_vm::netns;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::{Mutex, Semaphore};
use tokio::time::timeout;

use crate::oci::spec::Spec;
use crate::pod::words;

/// Where a container reads which servers it has.
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// The most that is read of it, in bytes.
const MOST_BYTES: u64 = 64 << 10;

/// This process's network namespace.
const OWN_NETWORK: &str = "/proc/self/ns/net";

/// How long a server may take to accept a connection when the sandbox begins. It is in the same kernel.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);

/// How long a server may take to answer. Docker's asks three others in that time, and a resolver has asked again after 5 s.
const ANSWER_WITHIN: Duration = Duration::from_secs(12);

/// Longer than any datagram.
const DATAGRAM_BYTES: usize = 1 << 16;

/// Begins to carry questions to the servers that the containers of `spec`'s sandbox have in this network namespace, and says which
/// they are. Without one, a sandbox has everything but its names.
pub(crate) async fn begin(pod: &Path, spec: &Spec) -> Vec<IpAddr> {
    let mut begun = Vec::new();
    for server in servers(spec) {
        // Where none listens, the address is the guest's own: one of the pod's containers may be the server.
        if !listens((server, NAMES_PORT).into()).await {
            continue;
        }
        match carry(pod, server).await {
            Ok(()) => begun.push(server),
            Err(why) => tracing::warn!("the guest does not reach the name server {server}: {why}"),
        }
    }
    // The server asks others for names that it does not know, from this namespace, whose packets are the guest's.
    if !begun.is_empty() {
        let shared = tokio::task::spawn_blocking(|| netns::share_name_servers(OWN_NETWORK.as_ref())).await;
        if let Ok(Err(error)) = shared {
            tracing::warn!(
                "name servers of this namespace do not reach others: {}",
                words(&error)
            );
        }
    }
    begun
}

/// The servers on loopback addresses that the file says which the engine mounts for this.
fn servers(spec: &Spec) -> Vec<IpAddr> {
    let mount = spec
        .mounts
        .iter()
        .find(|mount| mount.destination == Path::new(RESOLV_CONF));
    let text = mount.map(|mount| read(&mount.source)).unwrap_or_default();
    let mut servers = Vec::new();
    for server in nameservers(&text) {
        if server.is_loopback() && !servers.contains(&server) {
            servers.push(server);
        }
    }
    servers.truncate(MAX_NAME_SERVERS);
    servers
}

/// What is in a file; nothing of what is none, or cannot be read.
fn read(path: &Path) -> String {
    let is_file = path.metadata().is_ok_and(|data| data.is_file());
    let mut text = Vec::new();
    if is_file && let Ok(file) = std::fs::File::open(path) {
        let _ = file.take(MOST_BYTES).read_to_end(&mut text);
    }
    String::from_utf8_lossy(&text).into_owned()
}

async fn listens(server: SocketAddr) -> bool {
    let connected = timeout(CONNECTED_WITHIN, TcpStream::connect(server)).await;
    matches!(connected, Ok(Ok(_)))
}

/// Has the guest's agent listen for questions, and asks them from then on.
async fn carry(pod: &Path, server: IpAddr) -> Result<(), String> {
    let stream = control::open(pod, HostStream::Names { server }).await;
    let mut stream = stream.map_err(|error| words(&error))?;
    let answer = read_message(&mut stream).await.map_err(|error| words(&error))?;
    match answer {
        Some(InterfaceAnswer::Done) => {}
        Some(InterfaceAnswer::Failed { text }) => return Err(text.escape_debug().to_string()),
        None => return Err("the pod is ending".to_owned()),
    }
    let (questions, answers) = stream.into_split();
    tokio::spawn(answer_all(questions, answers, (server, NAMES_PORT).into()));
    Ok(())
}

/// Asks what the guest does, until its stream ends. More questions than may be at once wait in the stream, and so do those of a
/// guest that does not read answers.
async fn answer_all(
    mut questions: impl AsyncRead + Unpin,
    answers: impl AsyncWrite + Unpin + Send + 'static,
    server: SocketAddr,
) {
    let answers = Arc::new(Mutex::new(answers));
    let places = Arc::new(Semaphore::new(MAX_NAME_QUESTIONS));
    while let Ok(place) = places.clone().acquire_owned().await {
        let Ok(Some(question)) = read_message::<_, NameQuestion>(&mut questions).await else {
            return;
        };
        let answers = answers.clone();
        tokio::spawn(async move {
            let _place = place;
            let answer = NameAnswer {
                number: question.number,
                message: answer(server, question).await,
            };
            // Whoever does not read it any more does not ask any more either.
            let _ = write_message(&mut *answers.lock().await, &answer).await;
        });
    }
}

/// What the server answers in its time; otherwise that it failed, so that the resolver asks its next one.
async fn answer(
    server: SocketAddr,
    NameQuestion {
        transport, message, ..
    }: NameQuestion,
) -> Vec<u8> {
    let asked = async {
        match transport {
            NameTransport::Udp => by_datagram(server, &message).await,
            NameTransport::Tcp => by_connection(server, &message).await,
        }
    };
    match timeout(ANSWER_WITHIN, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => {
            tracing::debug!("the name server {server}: {error}");
            failure(message)
        }
        Err(_) => failure(message),
    }
}

async fn by_datagram(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let own: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((own, 0)).await?;
    // What others send is not received then.
    socket.connect(server).await?;
    socket.send(message).await?;
    let mut answer = vec![0; DATAGRAM_BYTES];
    let length = socket.recv(&mut answer).await?;
    answer.truncate(length);
    answer.shrink_to_fit();
    Ok(answer)
}

async fn by_connection(server: SocketAddr, message: &[u8]) -> io::Result<Vec<u8>> {
    let mut connection = TcpStream::connect(server).await?;
    names::write(&mut connection, message).await?;
    names::read(&mut connection).await
}

/// The question as the answer of a server that failed (RFC 1035, 4.1.1: `QR`, and the code 2).
fn failure(mut question: Vec<u8>) -> Vec<u8> {
    if question.len() >= NAME_HEAD_BYTES {
        question[2] |= 0x80;
        question[3] = question[3] & 0xf0 | 2;
    }
    question
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex, split};
    use tokio::net::TcpListener;

    use super::*;

    fn of(resolv_conf: &str) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("resolv.conf");
        std::fs::write(&path, resolv_conf).unwrap();
        let mounts = json!([{"destination": "/etc/hosts", "source": "/none"}, {"destination": RESOLV_CONF, "source": path}]);
        let spec: Spec = serde_json::from_value(json!({ "mounts": mounts })).unwrap();
        servers(&spec).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn servers_are_those_on_loopback_addresses() {
        let docker = "search corp.example\nnameserver 127.0.0.11\noptions edns0 ndots:0\n";
        assert_eq!(of(docker), ["127.0.0.11"]);
        assert!(of("nameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver 0.0.0.0\n").is_empty());
        let many = "127.0.0.2 10.0.0.1 ::1 127.0.0.2 127.0.0.3 127.0.0.4";
        let many: Vec<String> = many
            .split(' ')
            .map(|server| format!("nameserver {server}\n"))
            .collect();
        assert_eq!(of(&many.concat()), ["127.0.0.2", "::1", "127.0.0.3"]);
        assert!(servers(&Spec::default()).is_empty());
    }

    #[test]
    fn a_failure_is_an_answer_to_the_question() {
        let question = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\x01rest".to_vec();
        assert_eq!(failure(question), b"\x12\x34\x81\x22\0\x01\0\0\0\0\0\x01rest");
        assert_eq!(failure(b"short".to_vec()), b"short");
    }

    /// A server that answers with the question, and over TCP as much of it as there can be.
    async fn echo() -> SocketAddr {
        let (connections, datagrams) = loop {
            let connections = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(datagrams) = UdpSocket::bind(connections.local_addr().unwrap()).await {
                break (connections, datagrams);
            }
        };
        let address = connections.local_addr().unwrap();
        tokio::spawn(async move {
            let mut question = [0; 2000];
            loop {
                let (length, asker) = datagrams.recv_from(&mut question).await.unwrap();
                datagrams.send_to(&question[..length], asker).await.unwrap();
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut connection, _) = connections.accept().await.unwrap();
                let question = names::read(&mut connection).await.unwrap_or_default();
                let _ = names::write(&mut connection, &question.repeat(65_535 / question.len().max(1))).await;
            }
        });
        address
    }

    fn question(number: u32, transport: NameTransport, bytes: usize) -> NameQuestion {
        NameQuestion {
            number,
            transport,
            message: vec![number.to_le_bytes()[0]; bytes],
        }
    }

    #[tokio::test]
    async fn questions_are_asked_as_they_came() {
        let server = echo().await;
        let (mut guest, host) = duplex(1 << 18);
        let (questions, answers) = split(host);
        tokio::spawn(answer_all(questions, answers, server));
        for (number, transport, bytes, expected) in [
            (1, NameTransport::Udp, 1500, 1500),
            (2, NameTransport::Tcp, 15, 65_535),
        ] {
            write_message(&mut guest, &question(number, transport, bytes))
                .await
                .unwrap();
            let answer: NameAnswer = read_message(&mut guest).await.unwrap().unwrap();
            assert_eq!((answer.number, answer.message.len()), (number, expected));
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_the_answer_is_a_failure() {
        let gone = TcpListener::bind("127.0.0.1:0")
            .await
            .unwrap()
            .local_addr()
            .unwrap();
        assert!(!listens(gone).await);
        for transport in [NameTransport::Udp, NameTransport::Tcp] {
            let failed = answer(gone, question(0, transport, 20)).await;
            assert_eq!((failed.len(), failed[2], failed[3]), (20, 0x80, 2));
        }
    }

    #[tokio::test]
    async fn a_guest_that_asks_without_end_gets_so_many_sockets() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = silent.local_addr().unwrap();
        let (mut guest, host) = duplex(1 << 10);
        let (questions, answers) = split(host);
        tokio::spawn(answer_all(questions, answers, server));
        tokio::spawn(async move {
            for number in 0..1000 {
                write_message(&mut guest, &question(number, NameTransport::Udp, 12))
                    .await
                    .unwrap();
            }
            guest.flush().await.unwrap();
            guest.read_u8().await
        });
        let mut asked = 0;
        while timeout(Duration::from_millis(300), silent.recv(&mut [0; 100]))
            .await
            .is_ok()
        {
            asked += 1;
        }
        assert_eq!(asked, MAX_NAME_QUESTIONS);
    }
}
