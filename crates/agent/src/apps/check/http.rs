//! The HTTP/1.1 requests of a probe and the begin of each answer (RFC 9112), as the kubelet has them (`pkg/probe/http`):
//! redirections are followed on the same host; one to another host is a success that says so.

use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::connect::connect;
use super::done::Done;
use super::tls;

/// How much of an answer is read: Kubernetes reads as much of a body.
const MAX_ANSWER_BYTES: u64 = 10 * 1024;

/// The most requests of one probe, the first and those that redirections lead to (Go's `net/http`).
const MAX_REQUESTS: usize = 10;

/// What is asked, but for the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Whether TLS is spoken.
    pub(super) tls: bool,
    pub(super) port: u16,
    /// The path with its query.
    pub(super) path: String,
}

/// Asks, goes where redirections lead, and judges the last answer.
pub(super) async fn get(
    mut place: Place,
    mut headers: Vec<(String, String)>,
    host: Option<IpAddr>,
    own: Option<Ipv4Addr>,
) -> Done {
    let mut first_name = None;
    for _ in 0..MAX_REQUESTS {
        let port = place.port;
        let (stream, at) = match connect(host, own, port).await {
            Ok(connected) => connected,
            Err(error) => return Done::failed(format!("cannot connect to port {port}: {error}")),
        };
        let name = first_name.get_or_insert_with(|| host_name(at.ip()));
        let request = request(name, &place, &headers);
        let answer = match place.tls {
            false => exchange(stream, &request).await,
            true => match tls::connect(stream, at.ip(), tls::Protocol::Http1).await {
                Ok(stream) => exchange(stream, &request).await,
                Err(error) => return Done::failed(format!("no TLS at port {port}: {error}")),
            },
        };
        let answer = match answer {
            Ok(answer) => answer,
            Err(failed) => return failed,
        };
        let Some(location) = answer.redirection() else {
            return answer.judged();
        };
        let status = answer.status;
        match place.follow(location, name) {
            Ok(Next::Same {
                place: next,
                relative,
            }) => {
                if !relative {
                    headers.retain(|(name, _)| !name.eq_ignore_ascii_case("host"));
                }
                place = next;
            }
            Ok(Next::Elsewhere) => {
                let text =
                    format!("HTTP status {status}: `{location}` is on another host, and is not followed");
                return Done::new(true, text);
            }
            Err(why) => {
                return Done::failed(format!("HTTP status {status}: cannot follow `{location}`: {why}"));
            }
        }
    }
    Done::failed(format!("stopped after {MAX_REQUESTS} redirects"))
}

/// Sends the request and reads the begin of the answer.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Result<Answer, Done> {
    let sent = stream.write_all(request.as_bytes()).await;
    if let Err(error) = sent.and(stream.flush().await) {
        return Err(Done::failed(format!("cannot send the request: {error}")));
    }
    let mut bytes = Vec::new();
    // A reset behind a whole status line is the server's way to hang up.
    let read = (&mut stream).take(MAX_ANSWER_BYTES).read_to_end(&mut bytes).await;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    match (status(&text), read) {
        (Some(status), _) => Ok(Answer { status, text }),
        (None, Err(error)) => Err(Done::failed(format!("cannot read the answer: {error}"))),
        (None, Ok(_)) if text.is_empty() => {
            Err(Done::failed("the server closed the connection without an answer"))
        }
        (None, Ok(_)) => Err(Done::failed("the answer is not HTTP")),
    }
}

/// The begin of an answer.
struct Answer {
    status: u16,
    text: String,
}

impl Answer {
    /// Where it leads, if it does.
    fn redirection(&self) -> Option<&str> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            return None;
        }
        let lines = self.text.lines().skip(1).take_while(|line| !line.is_empty());
        let mut fields = lines.filter_map(|line| line.split_once(':'));
        let (_, location) = fields.find(|(name, _)| name.eq_ignore_ascii_case("location"))?;
        Some(location.trim()).filter(|location| !location.is_empty())
    }

    fn judged(&self) -> Done {
        let status = self.status;
        if matches!(status, 200..=399) {
            return Done::new(true, format!("HTTP status {status}"));
        }
        let body = self
            .text
            .split_once("\r\n\r\n")
            .map_or("", |(_, body)| body.trim());
        match body {
            "" => Done::failed(format!("HTTP status {status}")),
            body => Done::failed(format!("HTTP status {status}: {body}")),
        }
    }
}

/// What a redirection leads to.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// Another place of the same host; whether it was said relative to the one before.
    Same { place: Place, relative: bool },
    /// Another host.
    Elsewhere,
}

impl Place {
    /// The place that `location` is, of the host `name` (RFC 3986, section 5.2).
    fn follow(&self, location: &str, name: &str) -> Result<Next, &'static str> {
        let location = location.split('#').next().unwrap_or_default();
        if location.bytes().any(|b| b <= b' ' || b == 0x7f) {
            return Err("it has blanks or control characters");
        }
        let scheme = location
            .find([':', '/', '?'])
            .filter(|at| location[*at..].starts_with(':'))
            .map(|at| (location[..at].to_ascii_lowercase(), &location[at + 1..]));
        let (tls, rest) = match &scheme {
            None => (self.tls, location),
            Some((scheme, rest)) if scheme == "http" => (false, *rest),
            Some((scheme, rest)) if scheme == "https" => (true, *rest),
            Some(_) => return Err("it is not an HTTP address"),
        };
        let Some(rest) = rest.strip_prefix("//") else {
            return match scheme {
                Some(_) => Err("it has no host"),
                None => Ok(Next::Same {
                    place: Place {
                        path: self.relative(rest),
                        ..self.clone()
                    },
                    relative: true,
                }),
            };
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let authority = authority.rsplit_once('@').map_or(authority, |(_, after)| after);
        let (host, port) = match authority
            .strip_prefix('[')
            .and_then(|inner| inner.split_once(']'))
        {
            Some((host, port)) => (host, port.strip_prefix(':').unwrap_or(port)),
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        if !host.eq_ignore_ascii_case(name) {
            return Ok(Next::Elsewhere);
        }
        let port = match port {
            "" if tls => 443,
            "" => 80,
            port => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or("its port is invalid")?,
        };
        let path = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("/{path}"),
        };
        Ok(Next::Same {
            place: Place { tls, port, path },
            relative: false,
        })
    }

    /// The path that `reference` is, seen from this one.
    fn relative(&self, reference: &str) -> String {
        let base = self.path.split('?').next().unwrap_or_default();
        let (reference, query) = match reference.split_once('?') {
            Some((path, query)) => (path, format!("?{query}")),
            None => (reference, String::new()),
        };
        let whole = match reference {
            "" => base.to_owned(),
            reference if reference.starts_with('/') => reference.to_owned(),
            reference => {
                let dir = base.rfind('/').map_or("/", |at| &base[..=at]);
                format!("{dir}{reference}")
            }
        };
        let mut parts: Vec<&str> = Vec::new();
        for part in whole.split('/').skip(1) {
            match part {
                "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        // What ends in a dot segment is a directory.
        if whole.ends_with("/.") || whole.ends_with("/..") {
            parts.push("");
        }
        format!("/{}{query}", parts.join("/"))
    }
}

/// How a host is called in a request, without brackets.
fn host_name(ip: IpAddr) -> String {
    match ip.is_loopback() {
        true => "localhost".to_owned(),
        false => ip.to_string(),
    }
}

fn request(name: &str, place: &Place, headers: &[(String, String)]) -> String {
    let port = place.port;
    let host = match name.contains(':') {
        true => format!("[{name}]:{port}"),
        false => format!("{name}:{port}"),
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
    format!("GET {} HTTP/1.1\r\n{lines}\r\n", place.path)
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
    fn status_lines_are_distinguished_from_the_rest() {
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

    #[test]
    fn redirections_lead_to_the_same_host_or_elsewhere() {
        let from = Place {
            tls: false,
            port: 8080,
            path: "/a/b?x=1".into(),
        };
        for (location, tls, port, path) in [
            ("/c", false, 8080, "/c"),
            ("c?y", false, 8080, "/a/c?y"),
            ("../c/./d", false, 8080, "/c/d"),
            ("..", false, 8080, "/"),
            ("?y", false, 8080, "/a/b?y"),
            ("/c:d#part", false, 8080, "/c:d"),
            ("http://10.0.2.15/c", false, 80, "/c"),
            ("HTTPS://10.0.2.15", true, 443, "/"),
            ("https://10.0.2.15:8443?y", true, 8443, "/?y"),
            ("//user@10.0.2.15:81/c", false, 81, "/c"),
        ] {
            let place = Place {
                tls,
                port,
                path: path.into(),
            };
            let found = from.follow(location, "10.0.2.15");
            let Ok(Next::Same {
                place: found,
                relative,
            }) = found
            else {
                panic!("{location}: {found:?}")
            };
            assert_eq!((found, relative), (place, !location.contains("//")), "{location}");
        }
        let other = "http://example.org/";
        assert_eq!(from.follow(other, "10.0.2.15"), Ok(Next::Elsewhere));
        assert_eq!(from.follow("http://localhost/", "10.0.2.15"), Ok(Next::Elsewhere));
        assert!(matches!(
            from.follow("http://[fd00::1]:1/", "fd00::1"),
            Ok(Next::Same { .. })
        ));
        for wrong in [
            "ftp://10.0.2.15/",
            "/a b",
            "http:c",
            "http://10.0.2.15:0/",
            "http://10.0.2.15:x/",
        ] {
            assert!(from.follow(wrong, "10.0.2.15").is_err(), "{wrong}");
        }
    }
}
