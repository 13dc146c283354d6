//! Volumes and roots that are the pod's own.

use isopod_tests::{Bench, Image};
use serde_json::json;

/// An image's mount point without a volume: a volume that begins with what the image has there, mode, owners and content.
#[test]
fn an_image_gets_the_volumes_it_wants() {
    let bench = Bench::new();
    let image = Image::busybox()
        .directory("srv/www", 0o2770, (33, 44))
        .file("srv/www/of-the-image", 0o640, "of the image\n")
        .directory("srv/www/deep, er:", 0o1770, (5, 6))
        .directory("var/lib/db", 0o700, (7, 8))
        .file("var/lib/db/init", 0o600, "")
        .symlink("db", "/var/lib/db")
        .config("Volumes", json!({ "/srv/www": {}, "/var/new": {}, "/db": {} }));
    let image = bench.image(&image);
    let script = "stat -c '%a %u %g' /srv/www /var/new /srv/www/of-the-image '/srv/www/deep, er:' /var/lib/db /db/init
        grep -c -E ' (/srv/www|/var/lib/db) overlay ' /proc/mounts; touch /srv/www/x /var/new/x /db/x && echo writable
        cat /srv/www/of-the-image; echo more >> /srv/www/of-the-image; rm /db/init; ls /srv/www /var/lib/db";
    let out = bench
        .pod()
        .app(&image)
        .with(["--app-name", "web", "--read-only"])
        .sh(script)
        .run()
        .expect(0);
    assert_eq!(
        out.text(),
        "2770 33 44\n755 0 0\n640 0 0\n1770 5 6\n700 7 8\n600 0 0\n2\nwritable\nof the image\n\
         /srv/www:\ndeep, er:\nof-the-image\nx\n\n/var/lib/db:\nx\n"
    );
    let note =
        |path, gets| format!("note: app `web`: its image declares a volume at `{path}`: it gets {gets}\n");
    let own = "one of its own, with the image's files";
    assert_eq!(
        out.stderr,
        [
            note("/srv/www", own),
            note("/var/new", "an empty one"),
            note("/db", own)
        ]
        .concat()
    );

    let pod = bench
        .pod()
        .flags(["--no-implicit-volumes"])
        .app(&image)
        .with(["--app-name", "web"])
        .sh("true");
    let out = pod.run().expect(125);
    assert!(
        out.stderr.contains("`/srv/www`") && out.stderr.contains("`/var/new`"),
        "{}",
        out.stderr
    );

    // A volume of the user's at that path is the one.
    let pod = bench
        .pod()
        .empty("mine", "mode=0701")
        .app(&image)
        .mount("mine", "/srv/www", "")
        .mount("mine", "/db", "")
        .mount("mine", "/var/new", "");
    let out = pod.sh("stat -c %a /srv/www").run().expect(0);
    assert_eq!((out.text(), &*out.stderr), ("701\n", ""));
}

#[test]
fn an_app_may_be_kept_from_writing_to_its_root() {
    let bench = Bench::new();
    let source = bench.source("data", &[]);
    let pod = bench
        .pod()
        .host("data", &source, "")
        .empty("tmp", "mode=1777")
        .app(&bench.busybox());
    let pod = pod
        .with(["--read-only"])
        .mount("data", "/made/by/the/plan", "")
        .mount("tmp", "/tmp", "");
    let script = "
        for file in /new /etc/passwd /made/new; do echo x 2> /dev/null >> $file && echo wrote $file; done
        mkdir /etc/new 2> /dev/null || echo refused
        echo x > /tmp/x && echo x > /made/by/the/plan/x && echo x > /dev/shm/x && echo wrote";
    assert_eq!(pod.sh(script).run().expect(0).text(), "refused\nwrote\n");
    assert!(source.join("x").exists());
    // Without the flag it may.
    let out = bench
        .pod()
        .app(&bench.busybox())
        .sh("echo x > /new && cat /new")
        .run()
        .expect(0);
    assert_eq!(out.text(), "x\n");
}

/// With what was asked for as its size, in a pod with more disks than the board has slots; and in memory alike.
#[test]
fn an_empty_volume_may_be_kept_on_disk() {
    let bench = Bench::new();
    let mut pod = bench
        .pod()
        // It has more devices than a template has places for.
        .env("ISOPOD_START", "cold")
        .empty("scratch", "medium=disk,size=32m,mode=1770,uid=7,gid=8")
        .empty("memory", "size=1m");
    let more: Vec<String> = (0..30).map(|i| format!("d{i}")).collect();
    for name in &more {
        pod = pod.empty(name, "medium=disk,size=1m");
    }
    let mut app = pod
        .app(&bench.busybox())
        .mount("scratch", "/scratch", "")
        .mount("scratch", "/part", "subPath=made/here")
        .mount("memory", "/memory", "");
    for name in &more {
        app = app.mount(name, format!("/d/{name}"), "");
    }
    let app = app.sh(
        "stat -c '%a %u %g' /scratch /scratch/made /part; ls -A /scratch
         awk '$2 == \"/scratch\" { print $3 }' /proc/mounts
         echo part > /part/file; cat /scratch/made/here/file; rm /part/file
         head -c 33000000 /dev/zero > /scratch/file && rm /scratch/file && echo fits
         head -c 34000000 /dev/zero 2> /dev/null > /scratch/file || echo too large
         for at in /memory /d/*; do
             head -c 1000000 /dev/zero > $at/1 && ! head -c 100000 /dev/zero 2> /dev/null > $at/2 && echo bounded
         done | uniq -c",
    );
    let out = app.run().expect(0);
    assert_eq!(
        out.text(),
        "1770 7 8\n1770 0 8\n1770 0 8\nmade\next4\npart\nfits\ntoo large\n     31 bounded\n"
    );
}
