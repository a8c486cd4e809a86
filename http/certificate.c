/* certificate.c - see certificate.h. */
#include "http/certificate.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "lib/base/door.h"

#define PIN_PREFIX "sha256//"
#define TEN_YEARS ((time_t)3652 * 86400)

static enum sr_status tls_error(struct sr_err *err, enum sr_status status, const char *what, int rc)
{
	return sr_err_set(err, status, "%s: %s", what, gnutls_strerror(rc));
}

/* --- files -------------------------------------------------------------------------------------------------------- */

static enum sr_status sync_directory(const char *path, struct sr_err *err)
{
	char *copy = sr_strdup(path);
	int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum sr_status status = SR_OK;

	if (fd < 0 || fsync(fd))
		status = sr_err_sys(err, SR_E_IO, "%s: its directory", path);
	if (fd >= 0)
		close(fd);
	free(copy);
	return status;
}

static enum sr_status write_all(int fd, const gnutls_datum_t *text, const char *path, struct sr_err *err)
{
	for (size_t done = 0; done < text->size;) {
		ssize_t n = write(fd, text->data + done, text->size - done);

		if (n < 0)
			return sr_err_sys(err, SR_E_IO, "write %s", path);
		done += (size_t)n;
	}
	return fsync(fd) ? sr_err_sys(err, SR_E_IO, "fsync %s", path) : SR_OK;
}

/* A new file with just these bytes and this mode, or none. */
static enum sr_status save(const char *path, const gnutls_datum_t *text, mode_t mode, struct sr_err *err)
{
	char *temporary = sr_format("%s.%llx.tmp", path, (unsigned long long)sr_random_below(UINT64_MAX));
	int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	enum sr_status status;

	if (fd < 0) {
		status = sr_err_sys(err, SR_E_IO, "create %s", temporary);
		goto out;
	}
	status = write_all(fd, text, temporary, err);
	if (!status && fchmod(fd, mode))
		status = sr_err_sys(err, SR_E_IO, "chmod %s", temporary);
	if (!status && rename(temporary, path))
		status = sr_err_sys(err, SR_E_IO, "rename to %s", path);
	if (status)
		unlink(temporary);
	else
		status = sync_directory(path, err);
	close(fd);
out:
	free(temporary);
	return status;
}

/* --- the pair ----------------------------------------------------------------------------------------------------- */

static int add_names(gnutls_x509_crt_t cert, const char *host)
{
	static const unsigned char four[4] = { 127, 0, 0, 1 }, six[16] = { [15] = 1 };
	int rc = gnutls_x509_crt_set_dn_by_oid(cert, GNUTLS_OID_X520_COMMON_NAME, 0, host, (unsigned)strnlen(host, 64));

	if (rc >= 0)
		rc = gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_SET);
	if (rc >= 0 && strcmp(host, "localhost"))
		rc = gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_DNSNAME, host, (unsigned)strlen(host), GNUTLS_FSAN_APPEND);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_IPADDRESS, four, sizeof(four), GNUTLS_FSAN_APPEND);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_subject_alt_name(cert, GNUTLS_SAN_IPADDRESS, six, sizeof(six), GNUTLS_FSAN_APPEND);
	return rc;
}

static int fill(gnutls_x509_crt_t cert, gnutls_x509_privkey_t key, const char *host)
{
	time_t now = (time_t)(sr_now_ms() / 1000);
	unsigned char serial[16];
	int rc;

	sr_random(serial, sizeof(serial));
	serial[0] = (serial[0] & 0x7f) | 0x40; /* positive, and never a zero in front */
	rc = gnutls_x509_crt_set_version(cert, 3);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_serial(cert, serial, sizeof(serial));
	if (rc >= 0)
		rc = gnutls_x509_crt_set_activation_time(cert, now - 86400); /* clocks differ */
	if (rc >= 0)
		rc = gnutls_x509_crt_set_expiration_time(cert, now + TEN_YEARS);
	if (rc >= 0)
		rc = add_names(cert, host);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key(cert, key);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_basic_constraints(cert, 1, 0); /* so that it can be given as a CA file */
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key_usage(cert, GNUTLS_KEY_DIGITAL_SIGNATURE | GNUTLS_KEY_KEY_CERT_SIGN);
	if (rc >= 0)
		rc = gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_SERVER, 0);
	if (rc >= 0) /* by which it is known where client certificates are asked for */
		rc = gnutls_x509_crt_set_key_purpose_oid(cert, GNUTLS_KP_TLS_WWW_CLIENT, 0);
	if (rc >= 0)
		rc = gnutls_x509_crt_sign2(cert, cert, key, GNUTLS_DIG_SHA256, 0);
	return rc;
}

static enum sr_status make(const char *cert_path, const char *key_path, const char *host, struct sr_err *err)
{
	gnutls_x509_privkey_t key = NULL;
	gnutls_x509_crt_t cert = NULL;
	gnutls_datum_t key_text = { 0 }, cert_text = { 0 };
	enum sr_status status = SR_OK;
	int rc = gnutls_x509_privkey_init(&key);

	if (rc >= 0)
		rc = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
	if (rc >= 0)
		rc = gnutls_x509_crt_init(&cert);
	if (rc >= 0)
		rc = fill(cert, key, host);
	if (rc >= 0)
		rc = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &key_text);
	if (rc >= 0)
		rc = gnutls_x509_crt_export2(cert, GNUTLS_X509_FMT_PEM, &cert_text);
	if (rc < 0)
		status = tls_error(err, SR_E_INTERNAL, "make a certificate", rc);
	if (!status)
		status = save(key_path, &key_text, 0600, err);
	if (!status) {
		status = save(cert_path, &cert_text, 0644, err);
		if (status)
			unlink(key_path); /* half a pair would stop the next start */
	}
	if (key_text.data)
		explicit_bzero(key_text.data, key_text.size);
	gnutls_free(key_text.data);
	gnutls_free(cert_text.data);
	if (cert)
		gnutls_x509_crt_deinit(cert);
	if (key)
		gnutls_x509_privkey_deinit(key);
	return status;
}

/* 1: there; 0: not; negative: cannot tell, *err says why. */
static int there(const char *path, struct sr_err *err)
{
	struct stat st;

	if (!stat(path, &st))
		return 1;
	if (errno == ENOENT)
		return 0;
	sr_err_sys(err, SR_E_IO, "%s", path);
	return -1;
}

enum sr_status sr_certificate_ensure(const char *cert_path, const char *key_path, const char *host, struct sr_err *err)
{
	char self[256] = "localhost";
	int cert = there(cert_path, err), key = cert < 0 ? -1 : there(key_path, err);

	if (cert < 0 || key < 0)
		return err && err->code ? err->code : SR_E_IO;
	if (cert != key)
		return sr_err_set(err, SR_E_CONFIG, "%s is there, but not %s: bring it back, or move the first away for a new pair",
		                  cert ? cert_path : key_path, cert ? key_path : cert_path);
	if (cert)
		return SR_OK;
	if (!host && gethostname(self, sizeof(self) - 1))
		return sr_err_sys(err, SR_E_IO, "this machine's name");
	return make(cert_path, key_path, host ? host : self, err);
}

/* --- pins --------------------------------------------------------------------------------------------------------- */

static int pin_of(const gnutls_datum_t *pem, char out[SR_PIN_TEXT])
{
	gnutls_x509_crt_t cert = NULL;
	gnutls_pubkey_t key = NULL;
	gnutls_datum_t der = { 0 }, text = { 0 };
	unsigned char digest[32];
	int rc = gnutls_x509_crt_init(&cert);

	if (rc >= 0)
		rc = gnutls_x509_crt_import(cert, pem, GNUTLS_X509_FMT_PEM);
	if (rc >= 0)
		rc = gnutls_pubkey_init(&key);
	if (rc >= 0)
		rc = gnutls_pubkey_import_x509(key, cert, 0);
	if (rc >= 0)
		rc = gnutls_pubkey_export2(key, GNUTLS_X509_FMT_DER, &der);
	if (rc >= 0)
		rc = gnutls_hash_fast(GNUTLS_DIG_SHA256, der.data, der.size, digest);
	if (rc >= 0)
		rc = gnutls_base64_encode2(&(gnutls_datum_t){ .data = digest, .size = sizeof(digest) }, &text);
	if (rc >= 0)
		snprintf(out, SR_PIN_TEXT, PIN_PREFIX "%.*s", (int)text.size, (const char *)text.data);
	gnutls_free(text.data);
	gnutls_free(der.data);
	if (key)
		gnutls_pubkey_deinit(key);
	if (cert)
		gnutls_x509_crt_deinit(cert);
	return rc;
}

enum sr_status sr_certificate_pin_pem(struct sr_bytes pem, char out[SR_PIN_TEXT], struct sr_err *err)
{
	gnutls_datum_t text = { .data = (unsigned char *)(uintptr_t)pem.at, .size = (unsigned)pem.len };
	int rc = pin_of(&text, out);

	return rc < 0 ? tls_error(err, SR_E_DATA, "certificate", rc) : SR_OK;
}

enum sr_status sr_certificate_pin(const char *cert_path, char out[SR_PIN_TEXT], struct sr_err *err)
{
	gnutls_datum_t text = { 0 };
	enum sr_status status;
	int rc;

	if (access(cert_path, R_OK))
		return sr_err_sys(err, errno == ENOENT ? SR_E_NOINPUT : SR_E_IO, "%s", cert_path);
	rc = gnutls_load_file(cert_path, &text);
	if (rc < 0)
		return tls_error(err, SR_E_IO, cert_path, rc);
	status = sr_certificate_pin_pem(sr_bytes(text.data, text.size), out, err);
	gnutls_free(text.data);
	return status ? sr_err_context(err, "%s", cert_path) : SR_OK;
}

bool sr_pin_valid(const char *pin)
{
	gnutls_datum_t raw = { 0 };
	const char *text = pin + strlen(PIN_PREFIX);
	bool valid;

	if (strncmp(pin, PIN_PREFIX, strlen(PIN_PREFIX)) || strlen(text) != 44)
		return false;
	valid = gnutls_base64_decode2(&(gnutls_datum_t){ .data = (unsigned char *)(uintptr_t)text, .size = 44 }, &raw) >= 0 && raw.size == 32;
	gnutls_free(raw.data);
	return valid;
}

enum sr_status sr_certificate_check(const char *certificate, const char *key, struct sr_err *err)
{
	gnutls_datum_t cert_text = { .data = (unsigned char *)(uintptr_t)certificate, .size = (unsigned)strlen(certificate) };
	gnutls_datum_t key_text = { .data = (unsigned char *)(uintptr_t)key, .size = (unsigned)strlen(key) };
	gnutls_certificate_credentials_t both = NULL;
	int rc = gnutls_certificate_allocate_credentials(&both);

	if (rc >= 0)
		rc = gnutls_certificate_set_x509_key_mem(both, &cert_text, &key_text, GNUTLS_X509_FMT_PEM);
	if (both)
		gnutls_certificate_free_credentials(both);
	return rc < 0 ? tls_error(err, SR_E_CONFIG, "certificate and key", rc) : SR_OK;
}

/* --- clients' certificates --------------------------------------------------------------------------------------------- */

enum sr_status sr_certificate_check_authorities(const char *authorities, struct sr_err *err)
{
	gnutls_datum_t text = { .data = (unsigned char *)(uintptr_t)authorities, .size = (unsigned)strlen(authorities) };
	gnutls_certificate_credentials_t all = NULL;
	int rc = gnutls_certificate_allocate_credentials(&all);

	if (rc >= 0)
		rc = gnutls_certificate_set_x509_trust_mem(all, &text, GNUTLS_X509_FMT_PEM);
	if (all)
		gnutls_certificate_free_credentials(all);
	if (rc > 0)
		return SR_OK;
	return rc < 0 ? tls_error(err, SR_E_CONFIG, "certificates", rc) : sr_err_set(err, SR_E_CONFIG, "there is no certificate in it");
}

/* Who it says it is, for the text of an error; "?": that cannot be told. */
static void name_of(const gnutls_datum_t *der, char *out, size_t n)
{
	gnutls_x509_crt_t cert = NULL;
	gnutls_datum_t name = { 0 };

	snprintf(out, n, "?");
	if (gnutls_x509_crt_init(&cert) >= 0 && gnutls_x509_crt_import(cert, der, GNUTLS_X509_FMT_DER) >= 0 &&
	    gnutls_x509_crt_get_dn3(cert, &name, 0) >= 0)
		snprintf(out, n, "%.*s", (int)name.size, (const char *)name.data);
	gnutls_free(name.data);
	if (cert)
		gnutls_x509_crt_deinit(cert);
}

static enum sr_status not_trusted(const gnutls_datum_t *der, unsigned status, struct sr_err *err)
{
	gnutls_datum_t why = { 0 };
	char name[128];

	name_of(der, name, sizeof(name));
	if (gnutls_certificate_verification_status_print(status, GNUTLS_CRT_X509, &why, 0) >= 0)
		sr_err_set(err, SR_E_FORBIDDEN, "the client's certificate (%s) is not taken: %.*s", name, (int)why.size, (const char *)why.data);
	else
		sr_err_set(err, SR_E_FORBIDDEN, "the client's certificate (%s) is not taken", name);
	gnutls_free(why.data);
	return SR_E_FORBIDDEN;
}

enum sr_status sr_certificate_judge(void *session, struct sr_err *err)
{
	gnutls_typed_vdata_st purpose = { .type = GNUTLS_DT_KEY_PURPOSE_OID, .data = (unsigned char *)(uintptr_t)GNUTLS_KP_TLS_WWW_CLIENT };
	unsigned n = 0, status = 0;
	const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
	int rc;

	if (!chain || !n)
		return sr_err_set(err, SR_E_FORBIDDEN, "the client showed no certificate (its Client-Certificate-File), and one is needed here");
	rc = gnutls_certificate_verify_peers(session, &purpose, 1, &status);
	if (rc < 0)
		return tls_error(err, SR_E_FORBIDDEN, "the client's certificate", rc);
	return status ? not_trusted(chain, status, err) : SR_OK;
}
