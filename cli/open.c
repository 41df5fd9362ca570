/* SPDX-License-Identifier: BSD-2-Clause */
/* From the configuration to the library's objects. */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <waybill/amqp.h>

#include "cli/command.h"

int cli_open_store(cli_context *ctx, wb_store **ret)
{
	wb_store_options options = WB_STORE_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	options.log = &ctx->log;
	options.max_dbs = ctx->max_dbs;
	if (wb_store_open(ctx->config.store, &options, ret, &err) == WB_OK)
		return CLI_OK;
	if (err.foreign == ENOENT)
		return cli_fail(ctx, CLI_FAILED,
				"%s: name another one, or make it with "
				"`waybill init`",
				err.text);
	return cli_fail_error(ctx, &err);
}

int cli_open_routes(cli_context *ctx, wb_routes **ret)
{
	const wbi_config *config = &ctx->config;
	wb_error err = WB_ERROR_INIT;

	if (wb_routes_new(config->routes.items, config->routes.count, ret,
			  &err) != WB_OK)
		return cli_fail(ctx, CLI_USAGE, "routes: %s", err.text);
	return CLI_OK;
}

wb_limits cli_limits(const wbi_config *config)
{
	return (wb_limits){.body_bytes = config->body_max_bytes,
			   .header_count = config->headers_max,
			   .header_bytes = config->header_bytes_max};
}

int cli_open_outbox(cli_context *ctx, cli_outbox *ret)
{
	wb_outbox_options options = WB_OUTBOX_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;
	int code;

	*ret = (cli_outbox){.store = NULL};
	ret->limits = cli_limits(&ctx->config);
	ret->limits.key_bytes = 255;
	code = cli_open_routes(ctx, &ret->routes);
	if (code == CLI_OK)
		code = cli_open_store(ctx, &ret->store);
	if (code != CLI_OK)
		return code;
	options.limits = ret->limits;
	options.routes = ret->routes;
	if (wb_outbox_open(ret->store, &options, &ret->outbox, &err) != WB_OK)
		return cli_fail_error(ctx, &err);
	return CLI_OK;
}

void cli_close_outbox(cli_outbox *outbox)
{
	wb_outbox_close(outbox->outbox);
	wb_store_close(outbox->store);
	wb_routes_free(outbox->routes);
	*outbox = (cli_outbox){.store = NULL};
}

wb_relay_options cli_relay_options(const wbi_config *config)
{
	wb_relay_options options = WB_RELAY_OPTIONS_INIT;

	options.window = (uint32_t)config->window;
	options.commit_ms = (uint32_t)config->commit_ms;
	options.batch_bytes = (uint32_t)config->batch_bytes;
	options.poll_ms = (uint32_t)config->poll_ms;
	options.backoff_min_ms = (uint32_t)config->backoff_min_ms;
	options.backoff_max_ms = (uint32_t)config->backoff_max_ms;
	options.confirm_timeout_ms = (uint32_t)config->confirm_timeout_ms;
	options.probe_ms = (uint32_t)config->probe_ms;
	options.drain_ms = (uint32_t)config->drain_ms;
	options.parked_max_bytes = config->parked_max_bytes;
	options.limits = cli_limits(config);
	return options;
}

int cli_open_broker(cli_context *ctx, wb_broker **ret)
{
	const wbi_config *config = &ctx->config;
	wb_amqp_options options = WB_AMQP_OPTIONS_INIT;
	wb_error err = WB_ERROR_INIT;

	if (!config->amqp)
		return cli_usage(ctx, "which broker? give --amqp URI or set "
				      "WAYBILL_AMQP");
	options.uri = config->amqp;
	options.user = config->amqp_user;
	options.password = config->amqp_password;
	options.password_file =
		config->amqp_password ? NULL : config->amqp_password_file;
	options.connection_name = config->connection_name;
	options.tls_ca_file = config->tls_ca_file;
	options.tls_cert_file = config->tls_cert_file;
	options.tls_key_file = config->tls_key_file;
	options.tls_server_name = config->tls_server_name;
	options.tls_insecure = config->tls_insecure;
	options.external_auth = config->external_auth;
	options.connect_timeout_ms = (uint32_t)config->connect_timeout_ms;
	options.heartbeat_s = (uint32_t)config->heartbeat_s;
	options.log = &ctx->log;
	if (wb_amqp_new(&options, ret, &err) != WB_OK)
		return cli_fail(ctx, CLI_USAGE, "%s", err.text);
	return CLI_OK;
}

bool cli_is_owned(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	bool owned;

	if (fd < 0)
		return errno != ENOENT;
	owned = flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
	close(fd);
	return owned;
}
