# Runs in a bare root of Debian: installs the package as a user would, and runs pods with it. `@ NAME SECONDS` lines are figures.
# /srv has the package and an image.
set -e
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

step() {
    name=$1
    shift
    from=$(date +%s.%N)
    "$@" >/tmp/step.log 2>&1 || { status=$?; cat /tmp/step.log; echo "step $name: exit status $status"; exit 1; }
    echo "@ $name $(echo "$(date +%s.%N) $from" | awk '{ printf "%.1f", $1 - $2 }')"
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
more="linux-image-amd64 passt e2fsprogs uidmap"
if apt-cache show virtiofsd >/dev/null 2>&1; then more="$more virtiofsd"; fi
step download apt install --download-only /srv/isopod.deb $more
step install apt install /srv/isopod.deb $more

# What needs no guest.
isopod --version
[ "$(isopod list | wc -l)" = 1 ]
for file in man/man1/isopod-run.1.gz bash-completion/completions/isopod zsh/vendor-completions/_isopod doc/isopod/README.md; do
    [ -s /usr/share/$file ] || { echo "no $file"; exit 1; }
done
isopod doctor || { echo "the doctor finds a fault"; exit 1; }

# As root.
pod() { isopod run --accel tcg oci:/srv/busybox "$@"; }
step first-pod expect 7 pod sh -c 'uname -r; exit 7'
mkdir -p /srv/data
step volume isopod run --accel tcg --start cold -v /srv/data:/data oci:/srv/busybox sh -c 'echo written > /data/file; chown 33:44 /data/file'
[ "$(stat -c %u:%g:%s /srv/data/file)" = 33:44:8 ]
step second-pod isopod run --accel tcg --start warm --network none oci:/srv/busybox true
step third-pod isopod run --accel tcg --start warm --network none oci:/srv/busybox true

# As an ordinary user.
useradd --create-home --shell /bin/sh me
step ordinary-user su me -c 'cd && mkdir d && isopod run --accel tcg -v ./d:/d oci:/srv/busybox sh -c "echo mine > /d/file"'
[ "$(stat -c %U:%s /home/me/d/file)" = me:5 ]

apt remove isopod >/tmp/remove.log 2>&1 || { cat /tmp/remove.log; exit 1; }
[ ! -e /usr/bin/isopod ] && [ ! -e /etc/apparmor.d/isopod ]
echo "@ systemd $(dpkg-query -W -f '${Version}' systemd)"
echo "@ kernel $(ls /lib/modules)"
echo "@ qemu $(dpkg-query -W -f '${Version}' qemu-system-x86)"
