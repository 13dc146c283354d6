# Runs in a bare root of Debian: installs the package as a user would, and runs pods with it. `@ NAME SECONDS` lines are figures.
# /srv has the package and an image.
set -e
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

step() {
    name=$1
    shift
    from=$(date +%s.%N)
    "$@" >/tmp/step.log 2>&1 || { status=$?; cat /tmp/step.log; echo "step $name: exit status $status"; exit 1; }
    echo "@ $name $(echo "$(date +%s.%N) $from" | awk '{ printf "%.1f", $1 - $2 }')" | tee -a /tmp/figures
}

apt() {
    apt-get --yes --no-install-recommends -o Acquire::Check-Valid-Until=false -o Dpkg::Options::=--force-confold -o APT::Keep-Downloaded-Packages=true "$@"
}

expect() {
    wanted=$1
    shift
    status=0
    "$@" || status=$?
    [ "$status" = "$wanted" ] || { echo "exit status $status, not $wanted: $*"; return 1; }
}

# What a bare root lacks for any package with a kernel; nobody boots this one.
mkdir -p /etc/initramfs-tools
echo update_initramfs=no >/etc/initramfs-tools/update-initramfs.conf
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod +x /usr/sbin/policy-rc.d

apt update >/tmp/update.log 2>&1 || { cat /tmp/update.log; exit 1; }
more="linux-image-amd64 passt e2fsprogs uidmap busybox-static apparmor"
if apt-cache show virtiofsd >/dev/null 2>&1; then more="$more virtiofsd"; fi
step download apt install --download-only /srv/isopod.deb $more
step install apt install /srv/isopod.deb $more

# What needs no guest.
isopod --version
[ "$(isopod list | wc -l)" = 1 ]
for file in man/man1/isopod-run.1.gz bash-completion/completions/isopod zsh/vendor-completions/_isopod doc/isopod/README.md; do
    [ -s /usr/share/$file ] || { echo "no $file"; exit 1; }
done
# Where AppArmor's parser knows the profile's words, it is in place, and right; nothing is loaded into this host's kernel.
if [ -e /etc/apparmor.d/abi/4.0 ]; then
    apparmor_parser --skip-kernel-load --skip-cache /etc/apparmor.d/isopod
    if echo 'profile x { nonsense, }' | apparmor_parser --skip-kernel-load --skip-cache 2>/dev/null; then
        echo "apparmor_parser takes anything"
        exit 1
    fi
    echo "@ apparmor parsed, $(dpkg-query -W -f '${Version}' apparmor)"
else
    [ ! -e /etc/apparmor.d/isopod ]
    echo "@ apparmor none, $(dpkg-query -W -f '${Version}' apparmor)"
fi
isopod doctor || { echo "the doctor finds a fault"; exit 1; }

# As root.
pod() { isopod run --accel tcg oci:/srv/busybox "$@"; }
step first-pod expect 7 pod sh -c 'uname -r; exit 7'
mkdir -p /srv/data
step volume isopod run --accel tcg --start cold -v /srv/data:/data oci:/srv/busybox sh -c 'echo written > /data/file; chown 33:44 /data/file'
[ "$(stat -c %u:%g:%s /srv/data/file)" = 33:44:8 ]
step second-pod isopod run --accel tcg --start warm --network none oci:/srv/busybox true
step third-pod isopod run --accel tcg --start warm --network none oci:/srv/busybox true

isopod run -d --name reported --accel tcg oci:/srv/busybox sleep 1000
isopod boot-report reported >/srv/report.html
isopod rm --force reported

# What a newcomer waits for, downloads apart.
echo "@ by-package $(awk '$2 == "install" || $2 == "first-pod" { sum += $3 } END { print sum }' /tmp/figures)"

# As an ordinary user.
useradd --create-home --shell /bin/sh me
step ordinary-user su me -c 'cd && mkdir d && isopod run --accel tcg -v ./d:/d oci:/srv/busybox sh -c "echo mine > /d/file"'
[ "$(stat -c %U:%s /home/me/d/file)" = me:5 ]

# Networks with names, by the firewall that this release's netavark chooses; in a network namespace that is no host's.
step networks-install apt install netavark aardvark-dns nftables iptables iproute2
cat >/tmp/networks <<'EOF'
set -ex
ip link set lo up
isopod network create --ipv6 named
isopod run -d --name server --accel tcg --network named -p 8080:80 oci:/srv/busybox sh -c 'echo served >/hi; exec httpd -f -h /'
isopod run --accel tcg --network named oci:/srv/busybox sh -c 'until wget -q -O - http://server/hi; do sleep 0.2; done' | grep -qx served
busybox wget -q -O - http://127.0.0.1:8080/hi | grep -qx served
{ nft list table inet netavark || iptables-save | grep -m 1 -i netavark; } >/tmp/rules 2>/dev/null
case $(head -n 1 /tmp/rules) in table*) echo nftables ;; *) echo iptables ;; esac >/tmp/firewall
isopod rm --force server
if { nft list ruleset; iptables-save; } 2>/dev/null | grep 8080; then exit 1; fi
isopod network rm named
EOF
step networks unshare --net sh /tmp/networks
echo "@ firewall $(cat /tmp/firewall)"

# The start's floor and its phases, here.
if [ "$BENCH" != 0 ]; then
    mkdir -p /srv/binaries
    cp /usr/bin/isopod /usr/libexec/isopod/isopod-agent /srv/binaries
    /srv/target/debug/xtask bench boot --binaries /srv/binaries --runs "$BENCH" >/tmp/bench.log 2>&1 || { cat /tmp/bench.log; exit 1; }
    sed -n '/^| /p' /tmp/bench.log
    awk -F '|' '/^\| (`isopod run`|the floor|ratio of the medians|of the time of a boot|of the floor)/ { gsub(/^ +| +$/, "", $2); gsub(/[ `,]+/, "-", $2); gsub(/ /, "", $3); print "@ bench:" $2 " " $3 }' /tmp/bench.log
fi

apt remove isopod >/tmp/remove.log 2>&1 || { cat /tmp/remove.log; exit 1; }
[ ! -e /usr/bin/isopod ] && [ ! -e /etc/apparmor.d/isopod ]
echo "@ systemd $(dpkg-query -W -f '${Version}' systemd)"
echo "@ kernel $(ls /lib/modules)"
echo "@ qemu $(dpkg-query -W -f '${Version}' qemu-system-x86)"

# From source: what the quickstart installs and builds, with the toolchain and the dependencies there.
if [ -n "$SOURCE" ]; then
    apt install --download-only gcc libc6-dev qemu-system-x86 passt linux-image-amd64 systemd mount busybox-static >/tmp/step.log 2>&1
    export PATH="/root/.cargo/bin:$PATH" CARGO_NET_OFFLINE=true
    cd /srv/source
    step build-tools apt install gcc libc6-dev
    # Not in a pipe: a subshell has no children of its own.
    times >/tmp/before
    step quickstart cargo xtask quickstart --yes
    times >/tmp/after
    cat /tmp/before /tmp/after | awk 'NR % 2 == 0 { gsub(/m/, " "); gsub(/s/, ""); last = now; now = $1 * 60 + $2 + $3 * 60 + $4 }
        END { printf "@ cpu-seconds %.0f\n", now - last }'
fi
