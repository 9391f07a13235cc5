#!/bin/bash
# SPDX-License-Identifier: MIT
# Extended attributes, capabilities, POSIX ACLs and chattr flags.
# shellcheck source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
start_mount sync=periodic

for tool in setfacl getfacl chattr lsattr setcap; do
	command -v "$tool" >/dev/null || skip "$tool is missing"
done
touch "$NATIVE/probe"
setfattr -n user.probe -v x "$NATIVE/probe" 2>/dev/null || skip 'this backing file system has no user attributes'

check 'attributes of any size and bytes are stored, replaced, listed and removed as on BACKING' py <<'PY'
def steps(d):
    path = d + "/f"
    write_file(path, b"x")
    os.mkdir(d + "/dir")
    long = bytes(range(256)) * 12
    return [
        outcome(os.setxattr, path, "user.a", b"one"),
        outcome(os.setxattr, path, "user.empty", b""),
        outcome(os.setxattr, path, "user.long", long),
        outcome(os.setxattr, path, "user." + "n" * 250, b"longest name"),
        outcome(os.setxattr, path, "user." + "n" * 251, b"too long"),
        outcome(os.setxattr, path, "trusted.t", b"by root"),
        outcome(os.setxattr, path, "nonsense.t", b""),
        outcome(os.setxattr, path, "user.a", b"again", os.XATTR_CREATE),
        outcome(os.setxattr, path, "user.none", b"x", os.XATTR_REPLACE),
        outcome(os.setxattr, path, "user.a", b"two", os.XATTR_REPLACE),
        outcome(os.setxattr, path, "user.\u00fc\n", b"odd"),
        outcome(os.getxattr, path, "user.a"),
        outcome(os.getxattr, path, "user.empty"),
        outcome(os.getxattr, path, "user.long") == long,
        outcome(os.getxattr, path, "user.none"),
        sorted(os.listxattr(path)),
        outcome(os.removexattr, path, "user.a"),
        outcome(os.removexattr, path, "user.a"),
        outcome(os.getxattr, path, "user.a"),
        sorted(os.listxattr(path)),
        outcome(os.setxattr, d + "/dir", "user.d", b"dir"),
        outcome(os.listxattr, d + "/dir"),
        outcome(os.setxattr, path, "user.huge", b"x" * 65536),
        outcome(os.setxattr, path, "user.huge", b"x" * 65537),
        outcome(os.setxattr, d + "/none", "user.a", b""),
    ]
on_both(steps)
PY

check 'many attributes are listed whole' py <<'PY'
def steps(d):
    write_file(d + "/f", b"")
    for i in range(100):
        if outcome(os.setxattr, d + "/f", "user.%03d" % i, b"v" * 10) is not None:
            break
    return sorted(os.listxattr(d + "/f"))
equal(len(on_both(steps)) > 20, True)
PY

check 'a symlink and a special file take only the attributes BACKING gives them' py <<'PY'
def steps(d):
    os.symlink("nowhere", d + "/sym")
    os.mkfifo(d + "/fifo")
    return [
        outcome(os.setxattr, d + "/sym", "user.a", b"x", follow_symlinks=False),
        outcome(os.setxattr, d + "/sym", "trusted.a", b"x", follow_symlinks=False),
        outcome(os.getxattr, d + "/sym", "trusted.a", follow_symlinks=False),
        outcome(os.listxattr, d + "/sym", follow_symlinks=False),
        outcome(os.setxattr, d + "/fifo", "user.a", b"x"),
        outcome(os.setxattr, d + "/fifo", "trusted.a", b"x"),
        outcome(os.listxattr, d + "/fifo"),
    ]
on_both(steps)
PY

check 'an ordinary user sees and sets the attributes that BACKING lets him' py <<'PY'
def steps(d):
    for name, mode, uid in (("mine", 0o600, 12345), ("readable", 0o644, 0), ("secret", 0o600, 0), ("open", 0o666, 0)):
        write_file(d + "/" + name, b"x", mode)
        os.chown(d + "/" + name, uid, uid)
        os.setxattr(d + "/" + name, "user.a", b"v")
        os.setxattr(d + "/" + name, "trusted.a", b"v")
    def user():
        return [(
            outcome(os.getxattr, d + "/" + name, "user.a"),
            outcome(os.getxattr, d + "/" + name, "trusted.a"),
            outcome(os.setxattr, d + "/" + name, "user.b", b""),
            outcome(os.setxattr, d + "/" + name, "trusted.b", b""),
            outcome(os.setxattr, d + "/" + name, "security.capability", b""),
        ) for name in ("mine", "readable", "secret", "open")]
    return as_user(12345, user)
on_both(steps)
PY

capabilities() {
	cp /bin/true "$MNT/capable"
	setcap cap_net_raw+ep "$MNT/capable"
	same 'in BACKING' "$(getcap "$BACKING/capable" | cut -d' ' -f2-)" "$(getcap "$MNT/capable" | cut -d' ' -f2-)"
	getcap "$BACKING/capable" | grep -q cap_net_raw
	# A write takes a capability away, natively and here.
	printf x >>"$MNT/capable"
	same 'after a write, in BACKING' '' "$(getcap "$BACKING/capable")"
	same 'after a write, on the mount' '' "$(getcap "$MNT/capable")"
	setcap cap_net_raw+ep "$MNT/capable"
	chown 1 "$MNT/capable"
	same 'after chown, in BACKING' '' "$(getcap "$BACKING/capable")"
}
check 'file capabilities are kept, and lost by a write or chown as they would be on BACKING' capabilities

acl_access() {
	echo secret >"$MNT/acl"
	chmod 600 "$MNT/acl"
	says 'Permission denied' as 12345 cat "$MNT/acl"
	setfacl -m u:12345:r "$MNT/acl"
	same 'by the named user' secret "$(as 12345 cat "$MNT/acl")"
	says 'Permission denied' as 12346 cat "$MNT/acl"
	says 'Permission denied' as 12345 truncate -s 0 "$MNT/acl"
	setfacl -m m::- "$MNT/acl"
	says 'Permission denied' as 12345 cat "$MNT/acl"
	setfacl -m m::rw,g:4242:rw "$MNT/acl"
	setpriv --reuid=12346 --regid=12346 --groups=4242 tee -a "$MNT/acl" <<<more
	same 'ACL in BACKING' "$(getfacl -cpn "$BACKING/acl")" "$(getfacl -cpn "$MNT/acl")"
	same 'mode in BACKING' "$(stat -c %a "$BACKING/acl")" "$(stat -c %a "$MNT/acl")"
	chmod 640 "$MNT/acl"
	same 'ACL after chmod' "$(getfacl -cpn "$BACKING/acl")" "$(getfacl -cpn "$MNT/acl")"
	getfacl -cpn "$MNT/acl" | grep -Fxq 'mask::r--'
	setfacl -b "$MNT/acl"
	says 'Permission denied' as 12345 cat "$MNT/acl"
	same 'ACL removed in BACKING' '' "$(getfattr --absolute-names -n system.posix_acl_access "$BACKING/acl" 2>/dev/null || true)"
	setfacl -m u:12345:r "$BACKING/acl"
	wait_until 5 as 12345 cat "$MNT/acl"
}

acl_inherited() {
	local root
	for root in "$NATIVE" "$MNT"; do
		mkdir "$root/default"
		chmod 777 "$root/default"
		setfacl -d -m u::rwx,u:12345:rwx,g::rx,g:4242:rw,o::- "$root/default"
		(
			umask 077
			as 12345 touch "$root/default/file"
			as 12345 mkdir "$root/default/dir"
			as 12345 mkdir -m 700 "$root/default/dir700"
			as 12345 mkfifo "$root/default/fifo"
			as 12345 ln -s x "$root/default/sym"
			DIRECTORY=$root/default py <<-'PY'
				def user():
				    os.close(os.open(os.environ["DIRECTORY"] + "/created", os.O_CREAT | os.O_WRONLY, 0o444))
				    os.mknod(os.environ["DIRECTORY"] + "/mknod", stat.S_IFREG | 0o666)
				as_user(12345, user, umask=0o077)
			PY
		)
		(cd "$root/default" && getfacl -R -n . && stat -c '%n %a %u %g' ./*) >"$WORK/acl.${root##*/}"
	done
	diff -u "$WORK/acl.native" "$WORK/acl.${MNT##*/}"
	(cd "$BACKING/default" && getfacl -R -n . && stat -c '%n %a %u %g' ./*) | diff -u "$WORK/acl.native" -
	grep -Fq 'default:user:12345:rwx' "$WORK/acl.native"
}

if setfacl -m u:12345:r "$NATIVE/probe" 2>/dev/null; then
	check 'an access ACL decides, is stored in BACKING and follows chmod' acl_access
	check 'a default ACL is inherited as on BACKING, and umask then does not count' acl_inherited
else
	skip_check 'POSIX ACLs' 'this backing file system has none'
fi

flags() {
	echo x >"$MNT/flags"
	chattr +a "$MNT/flags"
	lsattr "$BACKING/flags" | grep -q '^[^ ]*a[^ ]* '
	lsattr "$MNT/flags" | grep -q '^[^ ]*a[^ ]* '
	says 'Operation not permitted' tee "$MNT/flags" <<<y
	echo appended >>"$MNT/flags"
	same 'appended' $'x\nappended' "$(cat "$BACKING/flags")"
	chattr -a +i "$MNT/flags"
	lsattr "$BACKING/flags" | grep -q '^[^ ]*i[^ ]* '
	says 'Operation not permitted' tee -a "$MNT/flags" <<<y
	says 'Operation not permitted' rm -f "$MNT/flags"
	says 'Operation not permitted' chmod 777 "$MNT/flags"
	says 'Operation not permitted' as 12345 chattr -i "$MNT/flags"
	chattr -i "$BACKING/flags"
	lsattr "$MNT/flags" | grep -q '^[^i ]* '
	echo y >"$MNT/flags"
	mkdir "$MNT/flags-dir"
	chattr +d "$MNT/flags-dir"
	lsattr -d "$BACKING/flags-dir" | grep -q '^[^ ]*d[^ ]* '
	chattr -d "$MNT/flags-dir"
}

if chattr +a "$NATIVE/probe" 2>/dev/null && chattr -a "$NATIVE/probe"; then
	# A file that may only be appended to cannot be mapped for writing; that may be said once.
	expect_stderr 'append|Operation not permitted|Permission denied'
	check 'chattr and lsattr work through the mount: +a and +i hold and are seen on BACKING' flags
	chattr -i -a "$BACKING/flags" 2>/dev/null || true
else
	skip_check 'chattr flags' 'this backing file system has none'
fi
