//! gRPC's health check (`grpc.health.v1.Health/Check`), the one call that a probe makes: HTTP/2 is a library's, the two
//! messages of a field each are written and read here (grpc/grpc-proto, `grpc/health/v1/health.proto`).

use bytes::{BufMut as _, Bytes, BytesMut};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};

use super::done::{Done, failure};

/// How much of an answer is read.
const MAX_ANSWER_BYTES: usize = 10 * 1024;

/// `SERVING`, of `HealthCheckResponse.ServingStatus`.
const SERVING: u64 = 1;

/// Asks the server at the other end of `stream` for the health of `service`, empty for its own.
pub(super) async fn check(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    authority: &str,
    service: &str,
) -> Done {
    let (client, connection) = match h2::client::handshake(stream).await {
        Ok(both) => both,
        Err(error) => return failure(&error),
    };
    let call = call(client, authority, service);
    tokio::select! {
        done = call => done.unwrap_or_else(|error| failure(&error)),
        ended = connection => match ended {
            Ok(()) => Done::failed("the server closed the connection without an answer"),
            Err(error) => failure(&error),
        },
    }
}

async fn call(
    client: h2::client::SendRequest<Bytes>,
    authority: &str,
    service: &str,
) -> Result<Done, h2::Error> {
    let mut client = client.ready().await?;
    let request = Request::post(format!("http://{authority}/grpc.health.v1.Health/Check"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", concat!("isopod-probe/", env!("CARGO_PKG_VERSION")))
        .body(());
    let request = match request {
        Ok(request) => request,
        Err(error) => return Ok(failure(&error)),
    };
    let (answer, mut body) = client.send_request(request, false)?;
    body.send_data(question(service), true)?;
    let answer = answer.await?;
    let status = answer.status();
    if !status.is_success() {
        return Ok(Done::failed(format!(
            "HTTP status {}, which is not a gRPC answer",
            status.as_u16()
        )));
    }
    let (head, mut body) = answer.into_parts();
    let mut message = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        let _ = body.flow_control().release_capacity(data.len());
        message.extend_from_slice(&data);
        if message.len() > MAX_ANSWER_BYTES {
            return Ok(Done::failed(
                "the answer is longer than any of gRPC's health check",
            ));
        }
    }
    // Where there is no message the head is all that comes.
    let trailers = body.trailers().await?.unwrap_or(head.headers);
    Ok(judged(&trailers, &message))
}

/// `HealthCheckRequest { service }` in gRPC's frame: not compressed, its length, and itself.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(&message);
    frame.freeze()
}

fn put_varint(out: &mut BytesMut, mut number: usize) {
    while number > 0x7f {
        out.put_u8(u8::try_from(number & 0x7f).unwrap_or_default() | 0x80);
        number >>= 7;
    }
    out.put_u8(u8::try_from(number).unwrap_or_default());
}

/// What the end of the answer and its message say.
fn judged(trailers: &HeaderMap, frame: &[u8]) -> Done {
    let text = |name: &str| {
        let value = trailers.get(name);
        value.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    match text("grpc-status").as_deref() {
        Some("0") => {}
        Some("12") => return Done::failed("the server does not implement gRPC's health check"),
        Some(status) => {
            let message = text("grpc-message").unwrap_or_default();
            return Done::failed(format!("gRPC status {status}: {message}"));
        }
        None => return Done::failed("the answer is not gRPC"),
    }
    match frame
        .split_at_checked(5)
        .and_then(|(_, message)| serving_status(message))
    {
        Some(SERVING) => Done::new(true, "the service is serving"),
        Some(0) => Done::failed("the service's health is unknown"),
        Some(3) => Done::failed("the service is unknown"),
        Some(_) => Done::failed("the service is not serving"),
        None => Done::failed("the answer is not one of gRPC's health check"),
    }
}

/// `HealthCheckResponse.status`; where it is not there it is `UNKNOWN`, 0.
fn serving_status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let tag = take_varint(&mut message)?;
        match tag & 7 {
            0 => {
                let value = take_varint(&mut message)?;
                if tag >> 3 == 1 {
                    status = value;
                }
            }
            2 => {
                let length = usize::try_from(take_varint(&mut message)?).ok()?;
                message = message.get(length..)?;
            }
            _ => return None,
        }
    }
    Some(status)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers one call so, and gives what it was asked.
    async fn asked(status: &'static str, message: &'static [u8], service: &str) -> (Done, String, Vec<u8>) {
        let (ours, theirs) = tokio::io::duplex(4096);
        let server = async move {
            let mut connection = h2::server::handshake(theirs).await.unwrap();
            let (request, mut respond) = connection.accept().await.unwrap().unwrap();
            let path = request.uri().path().to_owned();
            let mut body = request.into_body();
            let question = async {
                let mut bytes = Vec::new();
                while let Some(data) = body.data().await {
                    bytes.extend_from_slice(&data.unwrap());
                }
                let response = http::Response::builder().header("content-type", "application/grpc");
                let mut send = respond.send_response(response.body(()).unwrap(), false).unwrap();
                send.send_data(Bytes::from_static(message), false).unwrap();
                let mut trailers = HeaderMap::new();
                trailers.insert("grpc-status", status.parse().unwrap());
                send.send_trailers(trailers).unwrap();
                bytes
            };
            let bytes = tokio::select! {
                bytes = question => bytes,
                _ = async { while connection.accept().await.is_some() {} } => panic!(),
            };
            // What is sent goes out while the connection is looked after.
            while connection.accept().await.is_some() {}
            (path, bytes)
        };
        let (done, (path, bytes)) = tokio::join!(check(ours, "localhost:1", service), server);
        (done, path, bytes)
    }

    #[tokio::test]
    async fn a_service_is_asked_for_and_its_answer_judged() {
        let (done, path, bytes) = asked("0", b"\0\0\0\0\x02\x08\x01", "").await;
        assert_eq!(
            (done.success, done.text.as_str()),
            (true, "the service is serving")
        );
        assert_eq!(
            (path.as_str(), &bytes[..]),
            ("/grpc.health.v1.Health/Check", &b"\0\0\0\0\0"[..])
        );
        let (done, _, bytes) = asked("0", b"\0\0\0\0\x02\x08\x02", "db").await;
        assert_eq!(
            (done.success, done.text.as_str()),
            (false, "the service is not serving")
        );
        assert_eq!(bytes, b"\0\0\0\0\x04\x0a\x02db");
        let (done, ..) = asked("12", b"", "").await;
        assert!(
            !done.success && done.text.contains("does not implement"),
            "{done:?}"
        );
        let (done, ..) = asked("5", b"", "").await;
        assert!(!done.success && done.text.contains("gRPC status 5"), "{done:?}");
        let (done, ..) = asked("0", b"\0\0\0\0\0", "").await;
        assert!(!done.success && done.text.contains("unknown"), "{done:?}");
    }

    #[tokio::test]
    async fn what_speaks_no_http2_is_a_failure() {
        let (ours, mut theirs) = tokio::io::duplex(4096);
        let other = async {
            use tokio::io::AsyncWriteExt as _;
            theirs
                .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                .await
                .unwrap();
            drop(theirs);
        };
        let (done, ()) = tokio::join!(check(ours, "localhost:1", ""), other);
        assert!(!done.success && !done.text.is_empty(), "{done:?}");
    }

    #[test]
    fn numbers_of_any_length_are_read_and_nothing_else() {
        assert_eq!(serving_status(b""), Some(0));
        assert_eq!(serving_status(b"\x12\x01x\x08\x01"), Some(1));
        assert_eq!(serving_status(b"\x08\x81\x01"), Some(129));
        for wrong in [
            &b"\x08"[..],
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x12\x05x",
            b"\x0b",
        ] {
            assert_eq!(serving_status(wrong), None, "{wrong:?}");
        }
        let mut long = BytesMut::new();
        put_varint(&mut long, 300);
        assert_eq!(&long[..], b"\xac\x02");
    }
}
