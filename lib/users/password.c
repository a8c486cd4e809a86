/* password.c - see password.h. */
#include "lib/users/password.h"

#include <crypt.h>
#include <stdlib.h>
#include <string.h>

/* Nobody's: what is compared with when there is no hash, so that it takes as long. */
#define NOBODY "$y$j9T$VAeVKFxzm8CzAjIXgQpaM.$QVgJYdNYX1GmtSd0BmQ7cQG4PWzRr8tqXmB/BQkZQs8"

static enum sr_status check(const char *password, struct sr_err *err)
{
	size_t len = strlen(password);

	if (len < SR_PASSWORD_LEAST)
		return sr_err_set(err, SR_E_USAGE, "the password is too short: %d characters at least", SR_PASSWORD_LEAST);
	if (len >= SR_PASSWORD_MOST)
		return sr_err_set(err, SR_E_USAGE, "the password is too long: less than %d characters", SR_PASSWORD_MOST);
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)password[i] < ' ' || password[i] == 127)
			return sr_err_set(err, SR_E_USAGE, "a control character is in the password");
	return SR_OK;
}

/* NULL: no such method.  *data is the caller's, and to be wiped. */
static const char *crypted(const char *password, const char *setting, struct crypt_data *data)
{
	const char *hash = crypt_r(password, setting, data);

	return hash && hash[0] != '*' ? hash : NULL;
}

enum sr_status sr_password_hash(char **hash, const char *password, struct sr_err *err)
{
	struct crypt_data *data = sr_alloc(sizeof *data);
	char setting[CRYPT_GENSALT_OUTPUT_SIZE];
	const char *made = NULL;
	enum sr_status rc = check(password, err);

	if (rc == SR_OK && crypt_gensalt_rn("$y$", 0, NULL, 0, setting, sizeof setting))
		made = crypted(password, setting, data);
	if (rc == SR_OK && !made)
		rc = sr_err_set(err, SR_E_INTERNAL, "libcrypt knows no yescrypt");
	if (rc == SR_OK)
		*hash = sr_strdup(made);
	explicit_bzero(data, sizeof *data);
	free(data);
	return rc;
}

bool sr_password_is(const char *password, const char *hash)
{
	struct crypt_data *data = sr_alloc(sizeof *data);
	const char *made = crypted(password, hash ? hash : NOBODY, data);
	bool same = made && hash && sr_bytes_same_secret(sr_bytes_of(made), sr_bytes_of(hash));

	if (!made && hash) /* it names no method */
		(void)crypted(password, NOBODY, data);
	explicit_bzero(data, sizeof *data);
	free(data);
	return same;
}
