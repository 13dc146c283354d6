//! Name servers that the guest does not reach ([`isopod_contract::names`]): the agent listens on a server's address and port, and has
//! the host ask the server.
//!
//! ```text
//! app ── UDP, TCP ──> 127.0.0.11, port 53 ── questions ──> the host's stream
//!     <────────────── who asked which number <── answers ──
//! ```
//!
//! It interprets no message. What an app can make it hold is bounded by the number of questions and of connections.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use isopod_contract::names::{
    MAX_NAME_QUESTIONS, NAME_HEAD_BYTES, NAMES_PORT, NameAnswer, NameQuestion, NameTransport,
};
use isopod_contract::network::InterfaceAnswer;
use isopod_protocol::codec::{read_message, write_message};
use isopod_protocol::names;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Connections at once; more wait for one to end.
const CONNECTIONS: usize = 64;

/// How long a connection may take for its next question, and for taking an answer (RFC 7766, 6.2.3: in the order of seconds).
const IDLE: Duration = Duration::from_secs(10);

/// Before another attempt where the kernel had no memory or descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Longer than any datagram.
const DATAGRAM_BYTES: usize = 1 << 16;

/// Listens, says so, and carries questions until the stream ends.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(stream: S, server: IpAddr) {
    let mut stream = Box::pin(stream);
    let sockets = open((server, NAMES_PORT).into());
    let answer = match &sockets {
        Ok(_) => InterfaceAnswer::Done,
        Err(error) => InterfaceAnswer::Failed {
            text: format!("cannot listen on port {NAMES_PORT} of {server}: {error}"),
        },
    };
    if write_message(&mut stream, &answer).await.is_ok()
        && let Ok((datagrams, connections)) = sockets
    {
        carry(stream, datagrams, connections).await;
    }
}

fn open(address: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let make = |kind| -> io::Result<_> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(family, kind, flags, None)?;
        // So that a server of an app can have the port at all addresses if it does the same: with the first over UDP, with the second
        // over both, as root.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, true)?;
        bind(&socket, &address)?;
        Ok(socket)
    };
    let datagrams = make(SocketType::DGRAM)?;
    let connections = make(SocketType::STREAM)?;
    listen(&connections, 128)?;
    Ok((
        UdpSocket::from_std(datagrams.into())?,
        TcpListener::from_std(connections.into())?,
    ))
}

/// The questions that wait for their answers.
struct Questions {
    to_host: mpsc::Sender<NameQuestion>,
    asked: Mutex<HashMap<u32, oneshot::Sender<Vec<u8>>>>,
    next: AtomicU32,
    places: Arc<Semaphore>,
}

impl Questions {
    fn asked(&self) -> MutexGuard<'_, HashMap<u32, oneshot::Sender<Vec<u8>>>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a question asked, of which there are not too many; `None`: the host is gone.
    async fn ask(&self, transport: NameTransport, message: Vec<u8>) -> Option<Vec<u8>> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (reply, answer) = oneshot::channel();
        self.asked().insert(number, reply);
        let question = NameQuestion {
            number,
            transport,
            message,
        };
        self.to_host.send(question).await.ok()?;
        answer.await.ok()
    }
}

async fn carry(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    datagrams: UdpSocket,
    connections: TcpListener,
) {
    let (mut answers, mut questions) = tokio::io::split(stream);
    let (to_host, mut asked) = mpsc::channel(1);
    let waiting = Arc::new(Questions {
        to_host,
        asked: Mutex::default(),
        next: AtomicU32::default(),
        places: Arc::new(Semaphore::new(MAX_NAME_QUESTIONS)),
    });
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(question) = asked.recv().await {
            if write_message(&mut questions, &question).await.is_err() {
                return;
            }
        }
    });
    tasks.spawn(receive(datagrams, waiting.clone()));
    tasks.spawn(accept(connections, waiting.clone()));
    while let Ok(Some(NameAnswer { number, message })) = read_message(&mut answers).await {
        let asker = waiting.asked().remove(&number);
        // Whoever asked may be gone.
        let _ = asker.map(|asker| asker.send(message));
    }
}

/// Carries what comes as datagrams. While there are as many questions as there may be, the kernel keeps some, and drops more.
async fn receive(socket: UdpSocket, questions: Arc<Questions>) {
    let socket = Arc::new(socket);
    let mut datagram = vec![0; DATAGRAM_BYTES];
    let mut asking = JoinSet::new();
    loop {
        let Ok(place) = questions.places.clone().acquire_owned().await else {
            return;
        };
        while asking.try_join_next().is_some() {}
        match socket.recv_from(&mut datagram).await {
            Ok((length, asker)) if length >= NAME_HEAD_BYTES => {
                let message = datagram[..length].to_vec();
                let (socket, questions) = (socket.clone(), questions.clone());
                asking.spawn(async move {
                    let _place = place;
                    if let Some(answer) = questions.ask(NameTransport::Udp, message).await {
                        let _ = socket.send_to(&answer, asker).await;
                    }
                });
            }
            Ok(_) => {}
            Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn accept(listener: TcpListener, questions: Arc<Questions>) {
    let mut open = JoinSet::new();
    loop {
        while open.try_join_next().is_some() {}
        if open.len() >= CONNECTIONS {
            open.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((connection, _)) => drop(open.spawn(converse(connection, questions.clone()))),
            Err(_) => sleep(PAUSE).await,
        }
    }
}

/// Carries the questions of a connection, one after the other.
async fn converse(mut connection: TcpStream, questions: Arc<Questions>) {
    while let Ok(Ok(message)) = timeout(IDLE, names::read(&mut connection)).await {
        let Ok(_place) = questions.places.acquire().await else {
            return;
        };
        if message.len() < NAME_HEAD_BYTES {
            return;
        }
        let Some(answer) = questions.ask(NameTransport::Tcp, message).await else {
            return;
        };
        if !matches!(
            timeout(IDLE, names::write(&mut connection, &answer)).await,
            Ok(Ok(()))
        ) {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv6Addr;

    use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};

    use super::*;

    /// An agent that listens on a port of the tests', and the host's end of its stream.
    async fn agent() -> (SocketAddr, DuplexStream) {
        let (host, stream) = duplex(1 << 18);
        // A port that is free for both.
        let (datagrams, connections) = loop {
            let connections = TcpListener::bind("127.0.0.1:0").await.unwrap();
            if let Ok(datagrams) = UdpSocket::bind(connections.local_addr().unwrap()).await {
                break (datagrams, connections);
            }
        };
        let address = connections.local_addr().unwrap();
        tokio::spawn(carry(stream, datagrams, connections));
        (address, host)
    }

    async fn next(host: &mut DuplexStream) -> NameQuestion {
        read_message(host).await.unwrap().unwrap()
    }

    async fn answer(host: &mut DuplexStream, number: u32, message: Vec<u8>) {
        write_message(host, &NameAnswer { number, message })
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn questions_are_answered_to_whoever_asked() {
        let (address, mut host) = agent().await;
        let mut askers = Vec::new();
        for number in 0..20u8 {
            let asker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            asker.send_to(&[number; 30], address).await.unwrap();
            askers.push(asker);
        }
        let mut questions = Vec::new();
        for _ in 0..20 {
            questions.push(next(&mut host).await);
        }
        // In another order than they came, and one that nobody asked.
        answer(&mut host, 12345, vec![1; 12]).await;
        for question in questions.iter().rev() {
            assert_eq!(question.transport, NameTransport::Udp);
            let message = [&question.message[..], b"answer"].concat();
            answer(&mut host, question.number, message).await;
        }
        for (number, asker) in (0..20u8).zip(askers) {
            let mut answer = [0; 100];
            let (length, from) = asker.recv_from(&mut answer).await.unwrap();
            assert_eq!(
                (&answer[..length], from),
                (&[&[number; 30][..], b"answer"].concat()[..], address)
            );
        }
    }

    #[tokio::test]
    async fn a_connection_carries_messages_of_any_size() {
        let (address, mut host) = agent().await;
        let mut connection = TcpStream::connect(address).await.unwrap();
        for size in [12, 65_535] {
            let message = vec![7; size];
            let asked = async {
                names::write(&mut connection, &message).await.unwrap();
                names::read(&mut connection).await.unwrap()
            };
            let host = async {
                let question = next(&mut host).await;
                assert_eq!(question.transport, NameTransport::Tcp);
                answer(&mut host, question.number, question.message).await;
            };
            let (answer, ()) = tokio::join!(asked, host);
            assert_eq!(answer, message);
        }
        // What is no message of the name system ends it.
        names::write(&mut connection, b"short").await.unwrap();
        assert_eq!(connection.read(&mut [0]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn no_more_questions_wait_than_may() {
        let (address, mut host) = agent().await;
        let asker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        for number in 0..=u8::try_from(MAX_NAME_QUESTIONS).unwrap() {
            asker.send_to(&[number; 12], address).await.unwrap();
        }
        let mut numbers = BTreeSet::new();
        for _ in 0..MAX_NAME_QUESTIONS {
            numbers.insert(next(&mut host).await.number);
        }
        assert_eq!(numbers.len(), MAX_NAME_QUESTIONS);
        let early = timeout(Duration::from_millis(200), host.read_u8()).await;
        assert!(early.is_err(), "one too many");
        answer(&mut host, *numbers.first().unwrap(), vec![0; 12]).await;
        let last = next(&mut host).await;
        assert_eq!(usize::from(last.message[0]), MAX_NAME_QUESTIONS);
    }

    #[tokio::test]
    async fn a_server_of_an_app_can_have_the_port_at_all_addresses() {
        let (datagrams, connections) = open("127.0.0.1:0".parse().unwrap()).unwrap();
        for (kind, port) in [
            (SocketType::DGRAM, datagrams.local_addr().unwrap().port()),
            (SocketType::STREAM, connections.local_addr().unwrap().port()),
        ] {
            let all: SocketAddr = (std::net::Ipv4Addr::UNSPECIFIED, port).into();
            let theirs = socket_with(AddressFamily::INET, kind, SocketFlags::CLOEXEC, None).unwrap();
            assert!(bind(&theirs, &all).is_err());
            sockopt::set_socket_reuseport(&theirs, true).unwrap();
            bind(&theirs, &all).unwrap();
            if kind == SocketType::STREAM {
                listen(&theirs, 1).unwrap();
            }
        }
    }

    #[tokio::test]
    async fn the_end_of_the_stream_frees_the_port() {
        let address = (Ipv6Addr::LOCALHOST, 0).into();
        let Ok((datagrams, connections)) = open(address) else {
            return;
        };
        let address = datagrams.local_addr().unwrap();
        let (host, stream) = duplex(1 << 10);
        let carried = tokio::spawn(carry(stream, datagrams, connections));
        drop(host);
        carried.await.unwrap();
        // The tasks end at their next step.
        while UdpSocket::bind(address).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
