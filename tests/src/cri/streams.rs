//! The streams of containers and of commands, and other connections into network namespaces.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::json;

/// The streams of a container or a command, over a WebSocket (`v4.channel.k8s.io`): the first byte of each message is its channel.
pub struct Streams(tungstenite::WebSocket<TcpStream>);

impl Streams {
    pub(super) fn connect(netns: &str, url: &str) -> Self {
        let address: SocketAddr = url
            .split('/')
            .nth(2)
            .expect("a host")
            .parse()
            .expect("an address");
        let path = format!("/run/netns/{netns}");
        // A thread may enter a namespace; its sockets stay there.
        let socket = std::thread::spawn(move || {
            let namespace = fs::File::open(path).expect("the namespace");
            let network = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(namespace.as_fd(), network).expect("to enter it");
            TcpStream::connect(address).expect("containerd's streaming server")
        });
        let socket = socket.join().expect("a connection");
        let timeout = Some(Duration::from_secs(30));
        socket.set_read_timeout(timeout).expect("a timeout");
        let request = http::Request::get(url.replacen("http", "ws", 1))
            .header("host", address.to_string())
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header(
                "sec-websocket-key",
                tungstenite::handshake::client::generate_key(),
            )
            .header("sec-websocket-protocol", "v4.channel.k8s.io");
        let request = request.body(()).expect("a request");
        Self(tungstenite::client(request, socket).expect("a WebSocket").0)
    }

    fn send(&mut self, channel: u8, bytes: &[u8]) {
        let message = [&[channel], bytes].concat();
        self.0.send(message.into()).expect("to send");
    }

    /// Writes to its standard input.
    pub fn write(&mut self, text: &str) {
        self.send(0, text.as_bytes());
    }

    /// Gives its terminal another size.
    pub fn resize(&mut self, columns: u16, rows: u16) {
        self.send(
            4,
            json!({"Width": columns, "Height": rows}).to_string().as_bytes(),
        );
    }

    /// What comes until `text` has come, or the end.
    #[must_use]
    pub fn until(&mut self, text: &str) -> String {
        let mut all = String::new();
        while !all.contains(text) {
            match self.0.read() {
                Ok(message) if message.is_binary() || message.is_text() => {
                    let bytes = message.into_data();
                    all += &String::from_utf8_lossy(bytes.get(1..).unwrap_or_default());
                }
                Ok(_) => {}
                Err(_) => break,
            }
        }
        all
    }

    /// Goes without a word.
    pub fn close(mut self) {
        let _ = self.0.close(None);
        let _ = self.0.flush();
    }
}

/// What a server answers to `request`, in a network namespace.
///
/// # Errors
/// The system's.
pub fn ask(namespace: &str, address: SocketAddr, request: &'static str) -> std::io::Result<String> {
    let namespace = namespace.to_owned();
    let asking = std::thread::spawn(move || {
        let namespace = fs::File::open(namespace)?;
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(10))?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        socket.write_all(request.as_bytes())?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        Ok(answer)
    });
    asking.join().expect("a thread")
}
