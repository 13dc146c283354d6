//! Lines of public READMEs, as they stand there but for the name of the program, against images of those names that are made
//! of Debian's packages; and the same lines for podman, where it runs on this host: exit status, what they print and the mounts
//! are compared. That many more are read is held by crates/cli/src/command_line/readmes.rs.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use isopod_tests::podman::{Gave, Podman, mounts};
use isopod_tests::{Bench, Debian, Image, Output, tree};
use serde_json::json;

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
            let over = out.status == 125 && out.stderr.contains("does not run");
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

    /// The mounts that `inspect` tells are the same.
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
fn images() -> [(&'static str, Image); 3] {
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
    [("busybox", Image::busybox()), ("redis", redis), ("nginx", nginx)]
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
    assert_eq!(
        readme
            .line("docker run --rm busybox echo hello world")
            .expect(0)
            .text(),
        "hello world\n"
    );
    assert_eq!(
        readme
            .line("docker run --rm --entrypoint=cat nginx /etc/nginx/nginx.conf")
            .expect(0)
            .text(),
        NGINX_CONF
    );
    redis(&mut readme);
    nginx(&mut readme);
    readme.end();
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

/// As the official image's: an empty data directory is filled where a password is given, and the server is not root.
const POSTGRES_ENTRYPOINT: &str = r#"#!/bin/sh
set -e
[ "${1#-}" = "$1" ] || set -- postgres "$@"
[ "$1" = postgres ] || exec "$@"
shift
mkdir -p "$PGDATA"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  [ -n "$POSTGRES_PASSWORD" ] || { echo 'Error: Database is uninitialized and superuser password is not specified.' >&2; exit 1; }
  cp -r /usr/share/data/. "$PGDATA"
  chmod 700 "$PGDATA"
  chown -R www "$PGDATA"
fi
exec start-stop-daemon -S -c www -x /usr/lib/postgresql/15/bin/postgres -- -D "$PGDATA" -c jit=off "$@"
"#;

const MARIADB_ENTRYPOINT: &str = r#"#!/bin/sh
set -e
[ "${1#-}" = "$1" ] || set -- mariadbd "$@"
[ "$1" = mariadbd ] || exec "$@"
shift
if [ ! -d /var/lib/mysql/mysql ]; then
  [ -n "$MARIADB_ROOT_PASSWORD" ] || { echo 'Database is uninitialized and password option is not specified' >&2; exit 1; }
  cp -r /usr/share/data/. /var/lib/mysql
  echo "ALTER USER root@localhost IDENTIFIED BY '$MARIADB_ROOT_PASSWORD';" > /tmp/init.sql
  set -- --init-file=/tmp/init.sql "$@"
fi
exec mariadbd --no-defaults --user=root --innodb-buffer-pool-size=16M "$@"
"#;

/// Images of the database servers; their data are made on the host, which takes a twentieth of the time.
fn databases(bench: &Bench) -> [(&'static str, Image); 2] {
    let data = bench.dir().join("data");
    std::fs::create_dir_all(data.join("mariadb")).unwrap();
    let postgres = Debian::of(&[
        "postgresql-15",
        "postgresql-client-15",
        "libpq5",
        "libicu72",
        "libxml2",
        "libldap-2.5-0",
        "libsasl2-2",
    ]);
    let at = data.join("postgres").display().to_string();
    let initdb = ["-N", "-U", "postgres", "-A", "trust", "--locale=C", "-D", &at];
    postgres.run("usr/lib/postgresql/15/bin/initdb", &initdb, b"");
    let base = || {
        [
            "usr/lib",
            "lib64",
            "usr/local",
            "usr/local/bin",
            "usr/share",
            "var",
            "var/run",
            "var/lib",
        ]
        .into_iter()
        .fold(Image::busybox(), |image, dir| image.directory(dir, 0o755, (0, 0)))
    };
    let mut image = base()
        .directory("var/run/postgresql", 0o1777, (0, 0))
        .directory("usr/share/postgresql", 0o755, (0, 0))
        .directory("usr/lib/postgresql", 0o755, (0, 0))
        .directory("usr/lib/postgresql/15", 0o755, (0, 0))
        .directory("usr/lib/postgresql/15/bin", 0o755, (0, 0))
        .directory("usr/lib/postgresql/15/lib", 0o755, (0, 0));
    for program in [
        "bin/postgres",
        "bin/psql",
        "bin/pg_dump",
        "bin/pg_isready",
        "lib/plpgsql.so",
        "lib/dict_snowball.so",
    ] {
        image = postgres.program(image, &format!("usr/lib/postgresql/15/{program}"));
    }
    let image = postgres.tree(image, "usr/share/postgresql/15", "usr/share/postgresql/15");
    let of_postgres = tree(image, &data.join("postgres"), "usr/share/data")
        .file("usr/local/bin/docker-entrypoint.sh", 0o755, POSTGRES_ENTRYPOINT)
        .config("Entrypoint", json!(["docker-entrypoint.sh"]))
        .config("Cmd", json!(["postgres"]))
        .config("StopSignal", json!("SIGINT"))
        .config(
            "Env",
            json!([
                "PATH=/usr/local/bin:/usr/lib/postgresql/15/bin:/usr/bin:/bin:/usr/sbin:/sbin",
                "PGDATA=/var/lib/postgresql/data"
            ]),
        )
        .config("Volumes", json!({ "/var/lib/postgresql/data": {} }))
        .config("ExposedPorts", json!({ "5432/tcp": {} }));
    let mariadb = Debian::of(&[
        "mariadb-server-core",
        "mariadb-client-core",
        "liburing2",
        "libaio1",
        "libsnappy1v5",
    ]);
    let share = mariadb.root().join("usr/share/mysql");
    let mut sql = b"create database mysql;\nuse mysql;\nset @auth_root_socket=NULL;\n".to_vec();
    for file in [
        "mysql_system_tables.sql",
        "mysql_performance_tables.sql",
        "mysql_system_tables_data.sql",
    ] {
        sql.extend(std::fs::read(share.join(file)).unwrap());
    }
    let at = |flag: &str, path: &std::path::Path| format!("--{flag}={}", path.display());
    let flags = [
        at("datadir", &data.join("mariadb")),
        at("lc-messages-dir", &share),
        at("character-sets-dir", &share.join("charsets")),
    ];
    let flags = [
        "--no-defaults",
        "--bootstrap",
        "--innodb-log-file-size=4M",
        "--innodb-buffer-pool-size=16M",
    ]
    .into_iter()
    .chain(flags.iter().map(String::as_str));
    mariadb.run("usr/sbin/mariadbd", &flags.collect::<Vec<_>>(), &sql);
    let image = base()
        .directory("run/mysqld", 0o1777, (0, 0))
        .directory("var/lib/mysql", 0o755, (0, 0));
    let image = mariadb.program(image, "usr/sbin/mariadbd");
    let image = mariadb.program(image, "usr/bin/mariadb");
    let image = tree(image, &share.join("charsets"), "usr/share/mysql/charsets");
    let image = tree(image, &share.join("english"), "usr/share/mysql/english");
    let of_mariadb = tree(image, &data.join("mariadb"), "usr/share/data")
        .directory("usr/share/mysql", 0o755, (0, 0))
        .file("usr/local/bin/docker-entrypoint.sh", 0o755, MARIADB_ENTRYPOINT)
        .config("Entrypoint", json!(["docker-entrypoint.sh"]))
        .config("Cmd", json!(["mariadbd"]))
        .config("Volumes", json!({ "/var/lib/mysql": {} }))
        .config("ExposedPorts", json!({ "3306/tcp": {} }));
    [("postgres", of_postgres), ("mariadb", of_mariadb)]
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
fn databases_of_readmes_keep_what_they_are_told() {
    let bench = Bench::new();
    let mut readme = Readme::of(&bench, String::new(), &databases(&bench));
    let refused = readme.line("docker run --rm postgres");
    assert!(
        refused.status == 1 && refused.stderr.contains("superuser password is not specified"),
        "{refused:?}"
    );
    for text in [
        "docker run --name some-postgres -e POSTGRES_PASSWORD=mysecretpassword -d postgres -c shared_buffers=64MB",
        "docker run --detach --name some-mariadb --env MARIADB_ROOT_PASSWORD=my-secret-pw mariadb:latest --character-set-server=utf8mb4",
    ] {
        let _ = readme.line(text).expect(0);
    }
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
    assert!(bench.dir().join("d/t.frm").exists());
    assert_eq!(
        readme.patient("docker exec some-mariadb mariadb -uroot -pmy-secret-pw -N -e 'SELECT n FROM d.t'"),
        "7\n"
    );
    // One after the other: podman removes several in any order.
    let _ = readme.line("docker rm -fv some-postgres").expect(0);
    let _ = readme.line("docker rm -fv some-mariadb").expect(0);
    readme.end();
}
