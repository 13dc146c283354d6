//! Lines of public READMEs, as they stand there but for the name of the program, against images of those names that are made
//! of Debian's packages. That many more are read is held by crates/cli/src/command_line/readmes.rs.

#![expect(clippy::unwrap_used, reason = "a test is its own helper's caller")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use isopod_tests::{Bench, Debian, Image, Output, tree};
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
        import(bench, name, image);
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
    let mut wrong = Vec::new();
    // What people type about what runs, with something that each of them prints.
    for (text, shown) in [
        ("docker ps", "some-nginx"),
        ("docker ps -a --no-trunc", "running"),
        ("docker ps -s", "virtual"),
        ("docker ps -q --filter name=some", "-"),
        ("docker container ls --all --size", "SIZE"),
        ("docker top some-nginx", "nginx: master"),
        ("docker stats --no-stream some-nginx", "nginx"),
        ("docker port some-nginx", "80/tcp"),
        ("docker cp some-nginx:/etc/nginx/nginx.conf -", "access_log"),
        (
            "docker exec --privileged some-nginx grep CapEff /proc/self/status",
            "000001ffffffffff",
        ),
        ("docker exec -w /etc some-nginx pwd", "/etc"),
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
        ("docker tag nginx some-content-nginx", ""),
        ("docker rmi some-content-nginx", ""),
        ("docker volume create --label tier=db my-vol", "my-vol"),
        ("docker volume ls -q -f label=tier=db", "my-vol"),
        ("docker volume ls --filter dangling=true", "my-vol"),
        ("docker volume inspect -f {{.Labels.tier}} my-vol", "db"),
        ("docker volume rm my-vol", "my-vol"),
        ("docker system df -v", "Local Volumes:"),
        ("docker version", ""),
        ("docker info", ""),
        ("docker rename some-nginx other-nginx", ""),
        ("docker rename other-nginx some-nginx", ""),
        ("docker pause some-nginx", "some-nginx"),
        ("docker unpause some-nginx", "some-nginx"),
    ] {
        let out = line(text);
        if out.status != 0 || !out.text().contains(shown) {
            wrong.push(format!(
                "{text}: status {}: {}{}",
                out.status,
                out.text(),
                out.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let _ = line("docker stop some-nginx").expect(0);
    // Also of one that has ended.
    assert!(
        line("docker diff some-nginx")
            .expect(0)
            .text()
            .contains("/var/lib/nginx")
    );
    assert_eq!(
        line("docker inspect --format={{.State.ExitCode}} some-nginx")
            .expect(0)
            .text(),
        "0\n"
    );
    let _ = line("docker rm some-nginx").expect(0);
    bench.assert_nothing_left();
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
fn databases(bench: &Bench) {
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
    let image = tree(image, &data.join("postgres"), "usr/share/data")
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
    import(bench, "postgres", &image);

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
    let image = tree(image, &data.join("mariadb"), "usr/share/data")
        .directory("usr/share/mysql", 0o755, (0, 0))
        .file("usr/local/bin/docker-entrypoint.sh", 0o755, MARIADB_ENTRYPOINT)
        .config("Entrypoint", json!(["docker-entrypoint.sh"]))
        .config("Cmd", json!(["mariadbd"]))
        .config("Volumes", json!({ "/var/lib/mysql": {} }))
        .config("ExposedPorts", json!({ "3306/tcp": {} }));
    import(bench, "mariadb", &image);
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
    databases(&bench);
    // A line as it stands; what is in quotes is one word.
    let line = |text: &str| -> Output {
        let parts = text.split('\'').enumerate();
        let words = parts.flat_map(|(number, part)| match number % 2 {
            0 => part.split_whitespace().map(str::to_owned).collect::<Vec<_>>(),
            _ => vec![part.to_owned()],
        });
        let mut words: Vec<String> = words.skip(1).collect();
        if words[0] == "run" {
            words.splice(1..1, ["--accel".to_owned(), "tcg".to_owned()]);
        }
        bench.isopod_command(words)
    };
    let patient = |text: &str, expected: &str| {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let out = line(text);
            if out.status == 0 && out.text() == expected {
                return;
            }
            if Instant::now() > end || out.status == 125 && out.stderr.contains("does not run") {
                let name = text
                    .split_whitespace()
                    .find(|word| word.starts_with("some-"))
                    .unwrap_or_default();
                panic!("{text}: {out:?}: {:?}", line(&format!("docker logs {name}")));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    };
    let refused = line("docker run --rm postgres");
    assert!(
        refused.status == 1 && refused.stderr.contains("superuser password is not specified"),
        "{refused:?}"
    );
    for text in [
        "docker run --name some-postgres -e POSTGRES_PASSWORD=mysecretpassword -d postgres -c shared_buffers=64MB",
        "docker run --detach --name some-mariadb --env MARIADB_ROOT_PASSWORD=my-secret-pw mariadb:latest --character-set-server=utf8mb4",
    ] {
        let _ = line(text).expect(0);
    }
    patient(
        "docker exec some-postgres psql -U postgres -At -c 'SHOW shared_buffers'",
        "64MB\n",
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
        assert_eq!(line(text).expect(0).text(), expected, "{text}");
    }
    patient(
        "docker exec some-postgres psql -U postgres -At -c 'SELECT count(*) FROM t'",
        "1000\n",
    );
    assert!(
        line("docker exec some-postgres pg_dump -U postgres")
            .expect(0)
            .text()
            .contains("CREATE TABLE public.t")
    );
    assert!(
        line("docker logs some-postgres")
            .expect(0)
            .stderr
            .contains("database system was shut down")
    );
    patient(
        "docker exec some-mariadb mariadb -uroot -pmy-secret-pw -N -e 'SELECT @@character_set_server'",
        "utf8mb4\n",
    );
    let wrong = line("docker exec some-mariadb mariadb -uroot -pwrong -e 'SELECT 1'");
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
        let _ = line(text).expect(0);
    }
    assert!(bench.dir().join("d/t.frm").exists());
    patient(
        "docker exec some-mariadb mariadb -uroot -pmy-secret-pw -N -e 'SELECT n FROM d.t'",
        "7\n",
    );
    let _ = line("docker rm -fv some-postgres some-mariadb").expect(0);
    bench.assert_nothing_left();
}
