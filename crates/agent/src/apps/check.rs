//! Does what a probe or a handler says, once: executes a command in the app, asks an HTTP server, connects, waits. Whoever
//! drops it ends it, the command too. What is done, and for how long, is the planner's to say.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use isopod_contract::config::GuestCheck;
use tokio::net::TcpStream;

use crate::exec::enter::Job;

mod command;
mod connect;
mod done;
mod grpc;
mod http;
mod tls;

pub(crate) use command::run as command;
use connect::connect;
pub(crate) use done::Done;

/// The agent's own program.
const SELF: &str = "/proc/self/exe";

/// Does it; `job` is what `enter` is to do for a command, `own` the guest's address.
pub(crate) async fn run(check: GuestCheck, job: Option<Job>, own: Option<Ipv4Addr>) -> Done {
    match check {
        GuestCheck::Exec { .. } => match job {
            Some(job) => command(Path::new(SELF), &job).await,
            None => Done::failed("the app is not running"),
        },
        GuestCheck::HttpGet {
            tls,
            host,
            port,
            path,
            headers,
        } => http::get(http::Place { tls, port, path }, headers, host, own).await,
        GuestCheck::Grpc { tls, port, service } => match connect(None, own, port).await {
            Ok((stream, at)) => grpc(stream, at, tls, &service).await,
            Err(error) => Done::failed(format!("cannot connect to port {port}: {error}")),
        },
        GuestCheck::Tcp { host, port } => match connect(host, own, port).await {
            Ok(_) => Done::new(true, format!("port {port} takes connections")),
            Err(error) => Done::failed(format!("cannot connect to port {port}: {error}")),
        },
        GuestCheck::Sleep { ms } => {
            tokio::time::sleep(Duration::from_millis(ms)).await;
            Done::new(true, "")
        }
    }
}

/// Asks a gRPC server for a service's health.
async fn grpc(stream: TcpStream, at: SocketAddr, with_tls: bool, service: &str) -> Done {
    let authority = at.to_string();
    if !with_tls {
        return grpc::check(stream, &authority, service).await;
    }
    match tls::connect(stream, at.ip(), tls::Protocol::Http2).await {
        Ok(stream) => grpc::check(stream, &authority, service).await,
        Err(error) => Done::failed(format!("no TLS at port {}: {error}", at.port())),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use isopod_contract::message::MAX_HEALTH_BYTES;

    use super::done::one_line;
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    /// A server that answers one request so, and gives what it was asked.
    async fn server(answer: &'static str) -> (u16, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = stream.read(&mut request).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            String::from_utf8_lossy(&request[..length]).into_owned()
        });
        (port, asked)
    }

    fn get(port: u16, headers: &[(&str, &str)]) -> GuestCheck {
        GuestCheck::HttpGet {
            tls: false,
            host: None,
            port,
            path: "/healthz?full=1".into(),
            headers: headers.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect(),
        }
    }

    #[tokio::test]
    async fn http_is_asked_as_it_is_written() {
        let (port, asked) = server("HTTP/1.0 204 No Content\r\n\r\n").await;
        let done = run(get(port, &[("X-A", "b"), ("host", "example.org")]), None, None).await;
        assert_eq!((done.success, done.text.as_str()), (true, "HTTP status 204"));
        let asked = asked.await.unwrap();
        assert!(asked.starts_with("GET /healthz?full=1 HTTP/1.1\r\n"), "{asked}");
        assert!(
            asked.contains("\r\nhost: example.org\r\n") && asked.contains("\r\nX-A: b\r\n"),
            "{asked}"
        );
        assert!(
            !asked.contains("localhost") && asked.ends_with("\r\n\r\n"),
            "{asked}"
        );
        assert!(asked.contains("\r\nUser-Agent: isopod-probe/"), "{asked}");
    }

    #[tokio::test]
    async fn a_status_of_400_or_more_is_a_failure_with_the_servers_words() {
        let (port, _asked) = server("HTTP/1.1 503 Busy\r\nContent-Length: 12\r\n\r\ndatabase\ngone").await;
        let done = run(get(port, &[]), None, None).await;
        assert_eq!(
            (done.success, done.text.as_str()),
            (false, "HTTP status 503: database | gone")
        );
        let (port, _asked) = server("220 smtp ready\r\n").await;
        let done = run(get(port, &[]), None, None).await;
        assert_eq!(
            (done.success, done.text.as_str()),
            (false, "the answer is not HTTP")
        );
    }

    /// A server that answers each request by its path with `answer`, `PORT` in it being its own, and returns them all.
    async fn server_of_paths(
        answer: fn(&str) -> String,
    ) -> (u16, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
        let seen = asked.clone();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = vec![0; 4096];
                let length = stream.read(&mut request).await.unwrap();
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split(' ').nth(1).unwrap().to_owned();
                seen.lock().unwrap().push(request);
                let answer = answer(&path).replace("PORT", &port.to_string());
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        (port, asked)
    }

    fn to(location: &str) -> String {
        format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\nContent-Length: 0\r\n\r\n")
    }

    #[tokio::test]
    async fn redirections_are_followed_on_the_same_host_and_no_further() {
        let (port, asked) = server_of_paths(|path| match path {
            "/healthz?full=1" => to("next"),
            "/next" => to("http://localhost:PORT/last"),
            "/last" => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
            _ => "HTTP/1.1 404 Not Found\r\n\r\n".to_owned(),
        })
        .await;
        let done = run(get(port, &[("Host", "example.org")]), None, None).await;
        assert_eq!((done.success, done.text.as_str()), (true, "HTTP status 200"));
        let asked = asked.lock().unwrap().clone();
        let hosts: Vec<bool> = asked
            .iter()
            .map(|text| text.contains("Host: example.org"))
            .collect();
        // A name of one's own is kept as far as the place is said relative to it.
        assert_eq!(hosts, [true, true, false], "{asked:?}");

        let (port, asked) = server_of_paths(|_| to("https://example.org/login")).await;
        let done = run(get(port, &[]), None, None).await;
        assert!(done.success && done.text.contains("on another host"), "{done:?}");
        assert_eq!(asked.lock().unwrap().len(), 1);

        let (port, asked) = server_of_paths(to).await;
        let done = run(get(port, &[]), None, None).await;
        assert_eq!(
            (done.success, done.text.as_str()),
            (false, "stopped after 10 redirects")
        );
        assert_eq!(asked.lock().unwrap().len(), 10);

        // What says nowhere to go is as it is.
        let (port, _asked) =
            server_of_paths(|_| "HTTP/1.1 302 Found\r\n\r\nLocation: x\r\n".to_owned()).await;
        assert_eq!(run(get(port, &[]), None, None).await.text, "HTTP status 302");
        let (port, _asked) = server_of_paths(|_| to("ftp://localhost/")).await;
        assert!(!run(get(port, &[]), None, None).await.success);
    }

    #[tokio::test]
    async fn a_server_without_tls_has_none() {
        let (port, _asked) = server("HTTP/1.1 400 Bad Request\r\n\r\n").await;
        let GuestCheck::HttpGet {
            host, path, headers, ..
        } = get(port, &[])
        else {
            panic!()
        };
        let check = GuestCheck::HttpGet {
            tls: true,
            host,
            port,
            path,
            headers,
        };
        let done = run(check, None, None).await;
        assert!(!done.success && done.text.contains("no TLS at port"), "{done:?}");
    }

    #[tokio::test]
    async fn tcp_connects_or_says_why_not() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let check = GuestCheck::Tcp { host: None, port };
        assert!(run(check.clone(), None, None).await.success);
        drop(listener);
        let done = run(check, None, None).await;
        assert!(!done.success && done.text.contains("refused"), "{done:?}");
    }

    #[tokio::test]
    async fn without_a_host_the_guest_is_asked_at_its_own_address_and_at_loopback() {
        let own = Ipv4Addr::new(127, 0, 0, 2);
        let listener = TcpListener::bind((own, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let at = async |host, own, port| connect(host, own, port).await.map(|(_, at)| at.ip());
        assert_eq!(at(None, Some(own), port).await.unwrap(), own);
        let refused = io::ErrorKind::ConnectionRefused;
        assert_eq!(at(None, None, port).await.unwrap_err().kind(), refused);
        let loopback = Ipv4Addr::LOCALHOST.into();
        assert_eq!(
            at(Some(loopback), Some(own), port).await.unwrap_err().kind(),
            refused
        );
        let listener = TcpListener::bind((loopback, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(at(None, Some(own), port).await.unwrap(), loopback);
    }

    #[test]
    fn text_is_one_line_and_keeps_its_end() {
        assert_eq!(one_line("  a\n\n b \n"), "a | b");
        let long = "ä".repeat(MAX_HEALTH_BYTES);
        let line = one_line(&format!("{long}end"));
        assert!(line.len() <= MAX_HEALTH_BYTES / 2 && line.ends_with("end"));
    }
}
