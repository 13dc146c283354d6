//! Lines of public READMEs, as they stand there but for the name of the program, against images of those names that are made
//! of Debian's packages. That many more are read is held by crates/cli/src/command_line/readmes.rs.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use isopod_tests::{Bench, Debian, Image, Output};
use serde_json::json;

const NGINX_CONF: &str = "\
user root;
error_log stderr;
events {}
http {
  access_log /dev/stdout;
  server { listen 80; root /usr/share/nginx/html; }
}
";

/// The images that the READMEs speak of.
fn images(bench: &Bench) {
    let packages = Debian::of(&["redis-tools", "redis-server", "libjemalloc2", "liblzf1", "nginx"]);
    let busybox = || {
        Image::busybox()
            .directory("usr/lib", 0o755, (0, 0))
            .directory("lib64", 0o755, (0, 0))
    };
    let redis = packages.program(busybox().directory("data", 0o755, (0, 0)), "usr/bin/redis-server");
    let redis = packages.program(redis, "usr/bin/redis-cli");
    let redis = redis
        .config("Cmd", json!(["redis-server"]))
        .config("WorkingDir", json!("/data"))
        .config("Volumes", json!({ "/data": {} }))
        .config("ExposedPorts", json!({ "6379/tcp": {} }));
    let nginx = [
        "etc/nginx",
        "usr/share/nginx/html",
        "var/log/nginx",
        "var/lib/nginx",
    ]
    .into_iter()
    .fold(busybox(), |image, dir| image.directory(dir, 0o755, (0, 0)));
    let nginx = packages
        .program(nginx, "usr/sbin/nginx")
        .file("etc/nginx/nginx.conf", 0o644, NGINX_CONF)
        .file("usr/share/nginx/html/index.html", 0o644, "Welcome to nginx!\n")
        .config("Cmd", json!(["nginx", "-g", "daemon off;"]))
        .config("StopSignal", json!("SIGQUIT"))
        .config("ExposedPorts", json!({ "80/tcp": {} }));
    for (name, image) in [
        ("busybox", &Image::busybox()),
        ("redis", &redis),
        ("nginx", &nginx),
    ] {
        let name = format!("docker.io/library/{name}:latest");
        let layout = bench.image(image);
        let _ = bench
            .isopod_command(["image", "import", "--name", &name, &layout])
            .expect(0);
    }
}

/// The first page of a server.
fn fetch(address: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

#[test]
fn lines_of_readmes_do_what_they_say() {
    let bench = Bench::new();
    images(&bench);
    let content = bench
        .source("content", &[("index.html", "some content\n")])
        .display()
        .to_string();
    // A line as it stands, and what it prints, where that is not a name or a UUID.
    let line = |text: &str| -> Output {
        let words = text.replace("/some/content", &content);
        let words: Vec<&str> = words.split_whitespace().skip(1).collect();
        // VMs are emulated in tests.
        let emulated = match words[0] {
            "run" => vec!["run", "--accel", "tcg"],
            other => vec![other],
        };
        bench.isopod_command(emulated.into_iter().chain(words[1..].iter().copied()))
    };
    // A server that has just started does not listen yet, as with docker.
    let patient = |text: &str| {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let out = line(text);
            if out.status == 0 || Instant::now() > end {
                return out.expect(0);
            }
        }
    };
    assert_eq!(
        line("docker run --rm busybox echo hello world").expect(0).text(),
        "hello world\n"
    );
    assert_eq!(
        line("docker run --rm --entrypoint=cat nginx /etc/nginx/nginx.conf")
            .expect(0)
            .text(),
        NGINX_CONF
    );

    let _ =
        line("docker run --name some-redis -d redis redis-server --save 60 1 --loglevel warning").expect(0);
    assert_eq!(
        patient("docker exec some-redis redis-cli set greeting hello").text(),
        "OK\n"
    );
    assert_eq!(
        line("docker exec some-redis redis-cli --raw get greeting")
            .expect(0)
            .text(),
        "hello\n"
    );
    let _ = line("docker restart some-redis").expect(0);
    assert_eq!(patient("docker exec some-redis redis-cli ping").text(), "PONG\n");
    let _ = line("docker rm -f some-redis").expect(0);

    let _ =
        line("docker run --name some-nginx -v /some/content:/usr/share/nginx/html:ro -P -d nginx").expect(0);
    let published = line("docker port some-nginx 80")
        .expect(0)
        .text()
        .trim()
        .replace("0.0.0.0", "127.0.0.1");
    let end = Instant::now() + Duration::from_secs(20);
    let answer = loop {
        match fetch(&published) {
            Ok(answer) => break answer,
            Err(error) if Instant::now() > end => {
                panic!("{error}: {}", line("docker logs some-nginx").stderr)
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    };
    assert!(
        answer.contains("200 OK") && answer.ends_with("some content\n"),
        "{answer}"
    );
    assert!(
        line("docker logs some-nginx")
            .expect(0)
            .text()
            .contains("GET / HTTP/1.0")
    );
    assert_eq!(
        line("docker inspect --format={{.State.Status}} some-nginx")
            .expect(0)
            .text(),
        "running\n"
    );
    let mounts =
        line("docker inspect -f {{range.Mounts}}{{.Type}}:{{.Destination}}:{{.RW}}{{end}} some-nginx")
            .expect(0);
    assert_eq!(mounts.text(), "bind:/usr/share/nginx/html:false\n");
    let _ = line("docker stop some-nginx").expect(0);
    assert_eq!(
        line("docker inspect --format={{.State.ExitCode}} some-nginx")
            .expect(0)
            .text(),
        "0\n"
    );
    let _ = line("docker rm some-nginx").expect(0);
    bench.assert_nothing_left();
}
