# Makes a PostgreSQL cluster in $DATA, unless one is there, then becomes the command in its arguments.
# Runs as the user that owns the cluster, in a container or not.
set -eu
umask 077

if ! [ -e "$DATA/prepared" ]; then
    printf '%s' "$PASSWORD" >"$DATA.password"
    # Tests care for what the server syncs, not for what its set-up does.
    "$PROGRAMS/initdb" --no-sync --pgdata="$DATA" --username=postgres --pwfile="$DATA.password" \
        --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --data-checksums
    rm "$DATA.password"

    printf '%s' "$AUTHORITY" >"$DATA/ca.pem"
    printf '%s' "$CERTIFICATE" >"$DATA/server.pem"
    printf '%s' "$KEY" >"$DATA/server.key"

    cat >>"$DATA/postgresql.conf" <<END
listen_addresses = '$LISTEN'
port = $PORT
# A path of a temporary directory may be too long for a socket.
unix_socket_directories = ''
max_connections = 200
shared_buffers = 256MB
max_wal_size = 4GB
fsync = on
full_page_writes = on
synchronous_commit = on
ssl = on
ssl_cert_file = 'server.pem'
ssl_key_file = 'server.key'
END

    # With TLS and without, since tests try both; loopback only, by the address or by the published port.
    cat >"$DATA/pg_hba.conf" <<END
host all all all scram-sha-256
host replication all all scram-sha-256
END
    : >"$DATA/prepared"
fi

unset PASSWORD AUTHORITY CERTIFICATE KEY
exec "$@"
