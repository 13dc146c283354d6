//! Images of the names that READMEs speak of, made of Debian's packages.

use isopod_tests::{Bench, Debian, Image, tree};
use serde_json::json;

pub(super) const NGINX_CONF: &str = "\
user root;
error_log stderr;
events {}
http {
  access_log /dev/stdout;
  server { listen 80; root /usr/share/nginx/html; }
}
";

/// The images that the READMEs speak of.
pub(super) fn images() -> [(&'static str, Image); 3] {
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
pub(super) fn databases(bench: &Bench) -> [(&'static str, Image); 2] {
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
