# Writes the root of a system with PostgreSQL 15 to standard output, as a tar archive; the mirror is the first argument, if any.
# Runs as root, and leaves nothing behind.
set -eu

place=$(mktemp -d /var/tmp/sync-test-postgres-image.XXXXXX)
trap 'rm -rf --one-file-system "$place"' EXIT
trap 'exit 130' INT TERM HUP

if ! debootstrap --variant=minbase --include=postgresql-15 bookworm "$place/root" "$@" >"$place/log" 2>&1; then
    tail -n 20 "$place/log" >&2
    exit 1
fi

# A volume takes over the owner of the directory that it covers.
chroot "$place/root" install -d -o postgres -g postgres -m 700 /var/lib/postgresql/data

tar --create --directory="$place/root" --one-file-system \
    --exclude='./var/lib/postgresql/15' --exclude='./etc/postgresql/15' \
    --exclude='./var/cache/apt/*' --exclude='./var/lib/apt/lists/*' --exclude='./var/log/*' \
    --exclude='./usr/share/doc/*' --exclude='./usr/share/man/*' --exclude='./usr/share/locale/*' \
    .
