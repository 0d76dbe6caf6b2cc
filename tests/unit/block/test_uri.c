/* Names of disks that are no files. */
#include "test.h"

#include "base/err.h"
#include "block/uri.h"

static struct blk_uri u;

static int parse(const char *name)
{
	struct err err = ERR_INIT;

	blk_uri_fini(&u);
	return blk_uri_parse(name, &u, &err);
}

static void refused(const char *name, const char *why)
{
	struct err err = ERR_INIT;

	blk_uri_fini(&u);
	CHECK(blk_uri_parse(name, &u, &err) < 0);
	CHECK_ERR(err, why);
	CHECK(!u.host && !u.export && !u.pool);
}

TEST(files_are_files)
{
	CHECK(!blk_is_uri("disk.raw"));
	CHECK(!blk_is_uri("/a/nbd://b"));
	CHECK(!blk_is_uri("nbd.raw"));
	CHECK(!blk_is_uri("./rbd:x/y"));
	CHECK(!blk_is_uri(""));
	CHECK(blk_is_uri("nbd://h"));
	CHECK(blk_is_uri("rbd:x/y"));
	refused("disk.raw", "no nbd://");
}

TEST(a_server_has_a_host_and_a_port)
{
	CHECK_EQ(parse("nbd://example.org:10810/the%20disk"), 0);
	CHECK_STR(u.host, "example.org");
	CHECK_STR(u.port, "10810");
	CHECK_STR(u.export, "the disk");
	CHECK(!u.is_tls && !u.is_rbd && !u.socket && !u.user);
	CHECK_EQ(parse("nbd://example.org"), 0);
	CHECK_STR(u.port, "10809");
	CHECK_STR(u.export, "");
	CHECK_EQ(parse("nbd://[fe80::1%25eth0]:1/a/b"), 0);
	CHECK_STR(u.host, "fe80::1%eth0");
	CHECK_STR(u.port, "1");
	CHECK_STR(u.export, "a/b");
	blk_uri_fini(&u);
}

TEST(a_socket_has_a_path)
{
	CHECK_EQ(parse("nbd+unix:///x?socket=/run/a%26b"), 0);
	CHECK_STR(u.socket, "/run/a&b");
	CHECK_STR(u.export, "x");
	CHECK(!u.host && !u.port);
	CHECK_EQ(parse("nbd+unix://?socket=s"), 0);
	CHECK_STR(u.socket, "s");
	blk_uri_fini(&u);
}

TEST(tls_has_its_words)
{
	CHECK_EQ(parse("nbds://me@h/?tls-certificates=/etc/"
		       "pki&tls-psk-file=k&tls-verify-peer=false"),
		 0);
	CHECK(u.is_tls && u.trusts_anybody);
	CHECK_STR(u.user, "me");
	CHECK_STR(u.certificates, "/etc/pki");
	CHECK_STR(u.psk_file, "k");
	CHECK_EQ(parse("nbds+unix:///?socket=s&tls-verify-peer=true&"), 0);
	CHECK(u.is_tls && !u.trusts_anybody);
	blk_uri_fini(&u);
}

TEST(ceph_has_pools)
{
	CHECK_EQ(parse("rbd:pool/image@snap:id=admin:conf=/etc/ceph/x.conf"), 0);
	CHECK(u.is_rbd);
	CHECK_STR(u.pool, "pool");
	CHECK_STR(u.image, "image");
	CHECK_STR(u.snapshot, "snap");
	CHECK_STR(u.id, "admin");
	CHECK_STR(u.conf, "/etc/ceph/x.conf");
	CHECK_EQ(parse("rbd:p/i"), 0);
	CHECK(!u.snapshot && !u.id && !u.conf);
	blk_uri_fini(&u);
}

TEST(mistakes_are_explained)
{
	refused("nbd://", "nbd://HOST:PORT/EXPORT");
	refused("nbd:///x", "nbd://HOST:PORT/EXPORT");
	refused("nbd://h/?socket=s", "nbd://HOST:PORT/EXPORT");
	refused("nbd+unix:///x", "?socket=PATH");
	refused("nbd+unix://h/x?socket=s", "?socket=PATH");
	refused("nbd://[::1/x", "']' is missing");
	refused("nbd://[::1]x/", "what is 'x'");
	refused("nbd://h/%4", "two digits");
	refused("nbd://h/%zz", "two digits");
	refused("nbd://h/a%00b", "two digits");
	refused("nbd://h/?colour=red", "'colour' isn't known");
	refused("nbd://h/?tls-certificates=d", "nbds://");
	refused("nbds://h/?tls-verify-peer=maybe", "true or false");
	refused("rbd:", "rbd:POOL/IMAGE");
	refused("rbd:pool", "rbd:POOL/IMAGE");
	refused("rbd:/image", "rbd:POOL/IMAGE");
	refused("rbd:pool/@s", "SNAPSHOT");
	refused("rbd:pool/i@", "SNAPSHOT");
	refused("rbd:pool/i:key=x", "'key=x' isn't known");
}
