mkdir -p "$DESTDIR/usr/bin"
$CC -Os -o "$DESTDIR/usr/bin/brief" brief.c
