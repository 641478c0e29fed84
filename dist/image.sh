#!/bin/sh
# Lays out what the image consists of: the program, the libraries that it is linked to, whom TLS trusts, and a user. Nothing else is in it,
# no shell either. The Dockerfile runs this, and so does `tests/install/image.rs`, without Docker.
#
#   image.sh PROGRAM FOLDER
set -eu

program=$1
root=$2
user=10001

mkdir -p "$root/etc/mxtrunk" "$root/etc/ssl/certs" "$root/run/mxtrunk" "$root/tmp" "$root/usr/bin" "$root/var/lib/mxtrunk"
strip --strip-unneeded -o "$root/usr/bin/mxtrunk" "$program"
chmod 755 "$root/usr/bin/mxtrunk"
chmod 1777 "$root/tmp"

# The loader stands alone in ldd's output, the others behind an arrow.
ldd "$program" | sed -n 's|.*=> \(/[^ ]*\) (.*|\1|p; s|^[[:space:]]*\(/[^ ]*\) (.*|\1|p' | while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
done

[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'root:x:0:0::/:\nmxtrunk:x:%s:%s::/var/lib/mxtrunk:\n' "$user" "$user" > "$root/etc/passwd"
printf 'root:x:0:\nmxtrunk:x:%s:\n' "$user" > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"

chmod 700 "$root/var/lib/mxtrunk" "$root/run/mxtrunk"
if [ "$(id -u)" -eq 0 ]; then
    chown "$user:$user" "$root/var/lib/mxtrunk" "$root/run/mxtrunk"
fi
