//! One HTTP/1.1 request and the begin of its answer (RFC 9112). Redirections are not followed: their status is a success,
//! as it is for Kubernetes where one leads to another host.

use std::net::{IpAddr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Done;

/// How much of an answer is read: Kubernetes reads as much of a body.
const MAX_ANSWER_BYTES: u64 = 10 * 1024;

/// Sends the request and judges the answer.
pub(super) async fn get(
    mut stream: TcpStream,
    at: SocketAddr,
    path: &str,
    headers: &[(String, String)],
) -> Done {
    if let Err(error) = stream.write_all(request(at, path, headers).as_bytes()).await {
        return Done::failed(format!("cannot send the request: {error}"));
    }
    let mut answer = Vec::new();
    // A reset behind a whole status line is the server's way to hang up.
    let read = (&mut stream)
        .take(MAX_ANSWER_BYTES)
        .read_to_end(&mut answer)
        .await;
    let text = String::from_utf8_lossy(&answer);
    match (status(&text), read) {
        (Some(status @ 200..=399), _) => Done::new(true, format!("HTTP status {status}")),
        (Some(status), _) => {
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body.trim());
            match body {
                "" => Done::failed(format!("HTTP status {status}")),
                body => Done::failed(format!("HTTP status {status}: {body}")),
            }
        }
        (None, Err(error)) => Done::failed(format!("cannot read the answer: {error}")),
        (None, Ok(_)) if answer.is_empty() => Done::failed("the server hung up without an answer"),
        (None, Ok(_)) => Done::failed("the answer is not HTTP"),
    }
}

fn request(at: SocketAddr, path: &str, headers: &[(String, String)]) -> String {
    let host = match at.ip() {
        ip if ip.is_loopback() => format!("localhost:{}", at.port()),
        IpAddr::V4(ip) => format!("{ip}:{}", at.port()),
        IpAddr::V6(ip) => format!("[{ip}]:{}", at.port()),
    };
    let own = [
        ("Host", host.as_str()),
        ("User-Agent", concat!("isopod-probe/", env!("CARGO_PKG_VERSION"))),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ];
    let is_given = |name: &str| headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let own = own.into_iter().filter(|(name, _)| !is_given(name));
    let given = headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    let lines: String = own
        .chain(given)
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!("GET {path} HTTP/1.1\r\n{lines}\r\n")
}

/// The status of an answer that begins with a status line.
fn status(answer: &str) -> Option<u16> {
    let line = answer.lines().next()?;
    let mut words = line.split(' ');
    words.next().filter(|version| version.starts_with("HTTP/1."))?;
    let status = words.next().filter(|status| status.len() == 3)?;
    status.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_are_told_from_the_rest() {
        assert_eq!(status("HTTP/1.1 200 OK\r\n"), Some(200));
        assert_eq!(status("HTTP/1.0 500\r\n"), Some(500));
        for text in [
            "",
            "HTTP/2 200",
            "HTTP/1.1",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 abc",
            "SSH-2.0-x",
        ] {
            assert_eq!(status(text), None, "{text}");
        }
    }
}
