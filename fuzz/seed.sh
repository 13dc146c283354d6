#!/bin/sh
# Writes a few honest inputs for each target into corpus/, for a fuzzer to begin with.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for target in layers unpack pod_file appc image_config reference; do mkdir -p "corpus/$target"; done

# A tree with something of every kind, and archives of it in every format.
tree=$work/tree
mkdir -p "$tree/dir/below"
echo text >"$tree/dir/file"
ln "$tree/dir/file" "$tree/dir/hard"
ln -s dir/file "$tree/soft"
ln -s ../outside "$tree/up"
truncate -s 100k "$tree/sparse"
printf data >>"$tree/sparse"
touch "$tree/dir/.wh.gone" "$tree/dir/below/.wh..wh..opq" "$tree/$(printf 'n%.0s' $(seq 150))"
mkfifo "$tree/fifo"
setfattr -n user.name -v value "$tree/dir/file" 2>/dev/null || true
for format in v7 ustar oldgnu gnu pax; do
    tar -C "$work" --format=$format --sparse -cf "$work/$format.tar" tree 2>/dev/null || true
done
tar -C "$work" --format=pax --xattrs --sparse --sparse-version=0.1 -cf "$work/pax01.tar" tree
tar -C "$tree" --format=gnu -cf "$work/dir.tar" dir
tar -C "$tree" --format=pax --transform 's,^dir,tree,' -cf "$work/named.tar" dir
for archive in "$work"/*.tar; do
    name=$(basename "$archive" .tar)
    for how in 0 1 2; do { printf "\\00$how"; cat "$archive"; } >"corpus/layers/$name-$how"; done
    for how in 00 01 02 03 06 10 11; do { printf "\\0$how"; cat "$archive"; } >"corpus/unpack/$name-$how"; done
done
{ printf '\000'; cat "$work/dir.tar"; printf '\nLAYER\n'; cat "$work/gnu.tar"; } >corpus/layers/two
for tool in gzip zstd xz; do { printf '\000'; $tool -c "$work/dir.tar"; } >"corpus/layers/$tool"; done

n=0
for file in ../crates/spec/tests/kube/*/*.yaml ../crates/spec/tests/kube/*/*.json; do
    [ -f "$file" ] || continue
    n=$((n + 1))
    cp "$file" "corpus/pod_file/$n"
done
cp ../crates/spec/tests/data/*.json corpus/appc/
for file in ../crates/plan/tests/golden/*/manifest.json; do cp "$file" "corpus/appc/$(basename "$(dirname "$file")")"; done
cat >corpus/appc/image <<'EOF'
{"acKind": "ImageManifest", "acVersion": "0.8.11", "name": "example.com/app",
 "labels": [{"name": "os", "value": "linux"}, {"name": "arch", "value": "amd64"}],
 "app": {"exec": ["/app", "-v"], "user": "0", "group": "0", "workingDirectory": "/srv",
  "environment": [{"name": "A", "value": "b"}], "mountPoints": [{"name": "data", "path": "/data", "readOnly": true}],
  "ports": [{"name": "http", "port": 80, "protocol": "tcp", "count": 1, "socketActivated": false}],
  "isolators": [{"name": "resource/memory", "value": {"limit": "1Gi"}}]},
 "pathWhitelist": ["/a"], "dependencies": [], "annotations": [{"name": "authors", "value": "me"}]}
EOF
{
    printf '{"schemaVersion":2,"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"@M",'
    printf '"size":@m,"platform":{"os":"linux","architecture":"@A"},"annotations":{"org.opencontainers.image.ref.name":"x"}}]}\0'
    printf '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":'
    printf '"application/vnd.oci.image.config.v1+json","digest":"@C","size":@c},"layers":[{"mediaType":'
    printf '"application/vnd.oci.image.layer.v1.tar","digest":"@L","size":@l}]}\0'
    printf '{"architecture":"@A","os":"linux","created":"2026-01-01T00:00:00Z","config":{"User":"1000:50","Env":["A=b"],'
    printf '"Entrypoint":["/init"],"Cmd":["x"],"WorkingDir":"/srv","Volumes":{"/data":{}},"StopSignal":"SIGQUIT",'
    printf '"ExposedPorts":{"80/tcp":{}},"Healthcheck":{"Test":["CMD","true"],"Interval":1000000000},"Labels":{"a":"b"}},'
    printf '"rootfs":{"type":"layers","diff_ids":["@L"]},"history":[{"created_by":"x","empty_layer":true}]}'
} >corpus/image_config/image
n=0
for text in alpine team/web:1 quay.io/a/b:1@sha256:$(printf '0%.0s' $(seq 64)) docker://localhost:5000/x oci:/dir:tag \
    oci-archive:/file docker-archive:/f:name:tag dir:/d aci:/f 'data,kind=host,source=/srv,readOnly=true' \
    '"volume=a","target=/b,c",readOnly' 'kind=empty,mode=0755,uid=1,size=1Gi' /host:/guest:ro,Z 127.0.0.1:80:8080/tcp \
    '[::1]:80-90:80-90/udp' on-failure:3 app=healthy 1.5 512m nofile=1024:2048 seccomp=unconfined A=b user:group 1h30m; do
    n=$((n + 1))
    printf %s "$text" >"corpus/reference/$n"
done
