//! Lines of public READMEs, as they stand there but for the name of the program, against images of those names that are made
//! of Debian's packages; and the same lines for podman, where it runs on this host: exit status, what they print and the mounts
//! are compared. That many more are read is held by crates/cli/src/command_line/readmes.rs.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use isopod_tests::podman::{Gave, Podman, mounts};
use isopod_tests::{Bench, Image, Output, Scenarios};

mod images;

use images::{NGINX_CONF, databases, images};

/// Lines whose output is each one's own, and what is the same of them is more than their status: why.
const OTHER_OUTPUT: &[(&str, &str)] = &[(
    "docker exec some-postgres pg_dump -U postgres",
    "a dump has a random key in it",
)];

/// Lines that podman is not given: why.
const NOT_PODMANS: &[(&str, &str)] = &[];

/// Who is given the lines.
struct Readme<'a> {
    bench: &'a Bench,
    podman: Option<Podman>,
    /// What stands for /some/content.
    content: String,
    wrong: Vec<String>,
}

/// What both gave.
struct Both {
    ours: Output,
    theirs: Option<Gave>,
}

impl Readme<'_> {
    /// The images are there by these names, for both.
    fn of<'a>(bench: &'a Bench, content: String, images: &[(&str, Image)]) -> Readme<'a> {
        let podman = Podman::here(bench, &bench.busybox());
        for (name, image) in images {
            import(bench, name, image);
            if let Some(podman) = &podman {
                podman.name(&bench.image(image), &format!("docker.io/library/{name}:latest"));
            }
        }
        Readme {
            bench,
            podman,
            content,
            wrong: Vec::new(),
        }
    }

    /// A line's words; what is in quotes is one.
    fn words(&self, text: &str) -> Vec<String> {
        let text = text.replace("/some/content", &self.content);
        let parts = text.split('\'').enumerate();
        let words = parts.flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            _ => vec![part.to_owned()],
        });
        words.skip(1).collect()
    }

    fn ours(&self, text: &str) -> Output {
        let mut words = self.words(text);
        // VMs are emulated in tests.
        if words[0] == "run" {
            words.splice(1..1, ["--accel".to_owned(), "tcg".to_owned()]);
        }
        self.bench.isopod_command(words)
    }

    fn theirs(&self, text: &str) -> Option<Gave> {
        let is_not = NOT_PODMANS.iter().any(|(line, _)| *line == text);
        let podman = self.podman.as_ref().filter(|_| !is_not)?;
        Some(podman.run(self.words(text), b""))
    }

    fn both(&self, text: &str) -> Both {
        Both {
            ours: self.ours(text),
            theirs: self.theirs(text),
        }
    }

    /// A line for both, which is to give the same.
    fn line(&mut self, text: &str) -> Output {
        let Both { ours, theirs } = self.both(text);
        let gave = Gave::of(&ours);
        let any_output = OTHER_OUTPUT.iter().any(|(line, _)| *line == text);
        if let Some(theirs) = theirs {
            let same = match any_output {
                true => gave.status == theirs.status,
                false => gave.comparable() == theirs.comparable(),
            };
            if !same {
                self.wrong
                    .push(format!("{text}\n  podman: {theirs:?}\n  isopod: {gave:?}"));
            }
        }
        ours
    }

    /// A line that ends with 0 and prints `shown` among what is each one's own.
    fn shows(&mut self, text: &str, shown: &str) {
        let Both { ours, theirs } = self.both(text);
        if ours.status != 0 || !ours.text().contains(shown) {
            self.wrong.push(format!("{text}: {ours:?}"));
        }
        if let Some(theirs) = theirs.filter(|theirs| theirs.status != 0 || !theirs.stdout.contains(shown)) {
            self.wrong.push(format!("{text}: podman: {theirs:?}"));
        }
    }

    /// A line of a server that does not listen yet, as with docker: what it prints at last.
    fn patient(&mut self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(60);
        let ours = loop {
            let out = self.ours(text);
            if out.status == 0 {
                break out.text().to_owned();
            }
            let over = out.status == 125
                && (out.stderr.contains("no longer running") || out.stderr.contains("is not running"));
            assert!(!over && Instant::now() < end, "{text}: {out:?}");
            std::thread::sleep(Duration::from_millis(200));
        };
        while let Some(theirs) = self.theirs(text) {
            if theirs.status == 0 || Instant::now() > end {
                if theirs.stdout != ours {
                    self.wrong
                        .push(format!("{text}\n  podman: {theirs:?}\n  isopod: {ours:?}"));
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        ours
    }

    /// The mounts that `inspect` prints are the same.
    fn mounts(&mut self, name: &str) {
        let Both { ours, theirs } = self.both(&format!("docker inspect {name}"));
        let ours = mounts(ours.text());
        if let Some(theirs) = theirs.map(|theirs| mounts(&theirs.stdout))
            && ours != theirs
        {
            self.wrong.push(format!(
                "mounts of {name}\n  podman: {theirs:?}\n  isopod: {ours:?}"
            ));
        }
    }

    fn end(self) {
        assert!(self.wrong.is_empty(), "{}", self.wrong.join("\n"));
        drop(self.podman);
        self.bench.assert_nothing_left();
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
    let content = bench
        .source("content", &[("index.html", "some content\n")])
        .display()
        .to_string();
    let mut readme = Readme::of(&bench, content, &images());
    let mut scenarios = Scenarios::default();
    for (name, line, printed) in [
        (
            "busybox",
            "docker run --rm busybox echo hello world",
            "hello world\n",
        ),
        (
            "another entry point",
            "docker run --rm --entrypoint=cat nginx /etc/nginx/nginx.conf",
            NGINX_CONF,
        ),
    ] {
        scenarios.run(name, || assert_eq!(readme.line(line).expect(0).text(), printed));
    }
    scenarios.run("redis", || redis(&mut readme));
    scenarios.run("nginx", || nginx(&mut readme));
    scenarios.run("podman gives the same, and nothing is left", || readme.end());
}

fn redis(readme: &mut Readme) {
    let _ = readme
        .line("docker run --name some-redis -d redis redis-server --save 60 1 --loglevel warning")
        .expect(0);
    readme.mounts("some-redis");
    assert_eq!(
        readme.patient("docker exec some-redis redis-cli set greeting hello"),
        "OK\n"
    );
    assert_eq!(
        readme
            .line("docker exec some-redis redis-cli --raw get greeting")
            .expect(0)
            .text(),
        "hello\n"
    );
    let _ = readme.line("docker restart some-redis").expect(0);
    assert_eq!(readme.patient("docker exec some-redis redis-cli ping"), "PONG\n");
    let _ = readme.line("docker rm -f some-redis").expect(0);
}

/// The page that a server gives, at the address that `docker port` prints.
fn published(port: &str) -> String {
    let address = port.trim().replace("0.0.0.0", "127.0.0.1");
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        match fetch(&address) {
            Ok(answer) => return answer,
            Err(error) if Instant::now() > end => panic!("{address}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

fn nginx(readme: &mut Readme) {
    let _ = readme
        .line("docker run --name some-nginx -v /some/content:/usr/share/nginx/html:ro -P -d nginx")
        .expect(0);
    readme.mounts("some-nginx");
    let Both { ours, theirs } = readme.both("docker port some-nginx 80");
    let ports = [
        Some(ours.expect(0).text().to_owned()),
        theirs.map(|theirs| theirs.stdout),
    ];
    for port in ports.into_iter().flatten() {
        let answer = published(&port);
        assert!(
            answer.contains("200 OK") && answer.ends_with("some content\n"),
            "{answer}"
        );
    }
    readme.shows("docker logs some-nginx", "GET / HTTP/1.0");
    for (text, printed) in [
        (
            "docker inspect --format={{.State.Status}} some-nginx",
            "running\n",
        ),
        (
            "docker inspect -f {{range.Mounts}}{{.Type}}:{{.Destination}}:{{.RW}}{{end}} some-nginx",
            "bind:/usr/share/nginx/html:false\n",
        ),
        ("docker exec -w /etc some-nginx pwd", "/etc\n"),
        ("docker tag nginx some-content-nginx", ""),
        ("docker volume create --label tier=db my-vol", "my-vol\n"),
        ("docker volume ls -q -f label=tier=db", "my-vol\n"),
        ("docker volume inspect -f {{.Labels.tier}} my-vol", "db\n"),
        ("docker volume rm my-vol", "my-vol\n"),
        ("docker rename some-nginx other-nginx", ""),
        ("docker rename other-nginx some-nginx", ""),
    ] {
        assert_eq!(readme.line(text).expect(0).text(), printed, "{text}");
    }
    // What people type about what runs, with something that each of them prints.
    for (text, shown) in [
        ("docker ps", "some-nginx"),
        ("docker ps -a --no-trunc", "some-nginx"),
        ("docker ps -s", "virtual"),
        ("docker ps -q --filter name=some", ""),
        ("docker container ls --all --size", "SIZE"),
        ("docker top some-nginx", "nginx: master"),
        ("docker stats --no-stream some-nginx", "nginx"),
        ("docker port some-nginx", "80/tcp"),
        ("docker cp some-nginx:/etc/nginx/nginx.conf -", "access_log"),
        (
            "docker exec --privileged some-nginx grep CapEff /proc/self/status",
            "CapEff:\t000001ff",
        ),
        ("docker inspect -s -f {{.SizeRootFs}} some-nginx", ""),
        ("docker logs --tail 1 some-nginx", "GET /"),
        ("docker images", "nginx"),
        ("docker images --digests --filter reference=ngin*", "sha256:"),
        ("docker images -q --filter dangling=true", ""),
        ("docker image ls --filter before=nginx", ""),
        ("docker history nginx", ""),
        (
            "docker image inspect --format {{.Config.Cmd}} nginx",
            "daemon off",
        ),
        ("docker rmi some-content-nginx", ""),
        ("docker volume create my-vol", "my-vol"),
        ("docker volume ls --filter dangling=true", "my-vol"),
        ("docker volume rm my-vol", "my-vol"),
        ("docker system df -v", "Local Volumes"),
        ("docker version", ""),
        ("docker info", ""),
        ("docker pause some-nginx", ""),
        ("docker unpause some-nginx", ""),
    ] {
        readme.shows(text, shown);
    }
    let _ = readme.line("docker stop some-nginx").expect(0);
    // Also of one that has ended.
    readme.shows("docker diff some-nginx", "/var/lib/nginx");
    assert_eq!(
        readme
            .line("docker inspect --format={{.State.ExitCode}} some-nginx")
            .expect(0)
            .text(),
        "0\n"
    );
    let _ = readme.line("docker rm some-nginx").expect(0);
}

fn import(bench: &Bench, name: &str, image: &Image) {
    let name = format!("docker.io/library/{name}:latest");
    let layout = bench.image(image);
    let _ = bench
        .isopod_command(["image", "import", "--name", &name, &layout])
        .expect(0);
}

/// What is typed first of all with the servers of databases, and what they keep.
#[test]
fn databases_of_readmes_keep_what_they_are_given() {
    let bench = Bench::new();
    let mut readme = Readme::of(&bench, String::new(), &databases(&bench));
    let mut scenarios = Scenarios::default();
    scenarios.run("a password is needed", || {
        let refused = readme.line("docker run --rm postgres");
        assert!(
            refused.status == 1 && refused.stderr.contains("superuser password is not specified"),
            "{refused:?}"
        );
    });
    for text in [
        "docker run --name some-postgres -e POSTGRES_PASSWORD=mysecretpassword -d postgres -c shared_buffers=64MB",
        "docker run --detach --name some-mariadb --env MARIADB_ROOT_PASSWORD=my-secret-pw mariadb:latest --character-set-server=utf8mb4",
    ] {
        let _ = readme.line(text).expect(0);
    }
    scenarios.run("postgres", || postgres(&mut readme));
    scenarios.run("mariadb", || mariadb(&mut readme));
    // One after the other: podman removes several in any order.
    let _ = readme.line("docker rm -fv some-postgres").expect(0);
    let _ = readme.line("docker rm -fv some-mariadb").expect(0);
    scenarios.run("podman gives the same, and nothing is left", || readme.end());
}

fn postgres(readme: &mut Readme) {
    assert_eq!(
        readme.patient("docker exec some-postgres psql -U postgres -At -c 'SHOW shared_buffers'"),
        "64MB\n"
    );
    for (text, expected) in [
        (
            "docker exec some-postgres pg_isready",
            "/var/run/postgresql:5432 - accepting connections\n",
        ),
        (
            "docker exec -u www some-postgres psql -U postgres -c 'CREATE TABLE t (n int)'",
            "CREATE TABLE\n",
        ),
        (
            "docker exec -i some-postgres psql -U postgres -c 'INSERT INTO t SELECT generate_series(1, 1000)'",
            "INSERT 0 1000\n",
        ),
        (
            "docker exec -e PGUSER=postgres some-postgres psql -At -c 'SELECT sum(n) FROM t'",
            "500500\n",
        ),
        ("docker restart some-postgres", "some-postgres\n"),
    ] {
        assert_eq!(readme.line(text).expect(0).text(), expected, "{text}");
    }
    assert_eq!(
        readme.patient("docker exec some-postgres psql -U postgres -At -c 'SELECT count(*) FROM t'"),
        "1000\n"
    );
    assert!(
        readme
            .line("docker exec some-postgres pg_dump -U postgres")
            .expect(0)
            .text()
            .contains("CREATE TABLE public.t")
    );
    assert!(
        readme
            .line("docker logs some-postgres")
            .expect(0)
            .stderr
            .contains("database system was shut down")
    );
}

fn mariadb(readme: &mut Readme) {
    assert_eq!(
        readme.patient(
            "docker exec some-mariadb mariadb -uroot -pmy-secret-pw -N -e 'SELECT @@character_set_server'"
        ),
        "utf8mb4\n"
    );
    let wrong = readme.line("docker exec some-mariadb mariadb -uroot -pwrong -e 'SELECT 1'");
    assert!(
        wrong.status == 1 && wrong.stderr.contains("Access denied"),
        "{wrong:?}"
    );
    for text in [
        "docker exec some-mariadb mariadb -uroot -pmy-secret-pw -e 'CREATE DATABASE d; CREATE TABLE d.t (n int); INSERT INTO d.t VALUES (7)'",
        "docker stop some-mariadb",
        "docker cp some-mariadb:/var/lib/mysql/d .",
        "docker start some-mariadb",
    ] {
        let _ = readme.line(text).expect(0);
    }
    assert!(readme.bench.dir().join("d/t.frm").exists());
    assert_eq!(
        readme.patient("docker exec some-mariadb mariadb -uroot -pmy-secret-pw -N -e 'SELECT n FROM d.t'"),
        "7\n"
    );
}
