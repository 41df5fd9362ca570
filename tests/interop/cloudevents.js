// SPDX-License-Identifier: BSD-2-Clause
// Relayed events, parsed by the CloudEvents SDK.
//
// cloudevents.js make TYPE COUNT         events, a line each for waybill append
// cloudevents.js check TYPE COUNT QUEUE  take them from the queue, in order,
//                                        and compare every attribute
//
// The event of a number is the same in both.
'use strict';
const assert = require('assert');
const amqp = require('amqplib');
const {HTTP} = require('cloudevents');
const {receive} = require('./client.js');

const JSON_TYPE = 'application/json', BYTES = 'application/octet-stream';
const DATA = [
	[JSON_TYPE, (i) => ({n: i, text: `grüß "${i}"`, list: [1.5, null]})],
	['text/plain', (i) => `line ${i}\nand another, 100 %`],
	[BYTES, (i) => Buffer.from([0, 255, i & 255, 13, 10])],
	[JSON_TYPE, (i) => [i]],
];

function event(type, i)
{
	const day = String(i % 28 + 1).padStart(2, '0');
	const micros = String(i).padStart(6, '0');
	const [contentType, data] = DATA[i % DATA.length];

	return {
		id: `${type}-${i}`,
		source: `/interop/${i % 7}?q=a%20b#${i}`,
		type,
		subject: i % 5 === 0 ? `größe/${i}` : `order/${i}`,
		time: `2026-02-${day}T23:59:59.${micros}Z`,
		datacontenttype: contentType,
		dataschema: `https://example.org/schemas/${i % 3}`,
		partitionkey: 'one',
		color: `rot/${i}`,
		comexample9: `naïve, "quoted" = ${i}`,
		data: data(i),
	};
}

function make(type, count)
{
	for (let i = 1; i <= count; i++) {
		const {partitionkey, data, ...rest} = event(type, i);
		const line = {specversion: '1.0', ...rest, key: partitionkey};

		if (Buffer.isBuffer(data))
			line.data_base64 = data.toString('base64');
		else
			line.data = data;
		console.log(JSON.stringify(line));
	}
}

// The message as the SDK's reader wants it: text, unless the data is bytes.
function parse({properties, content})
{
	const type = properties.contentType;

	return HTTP.toEvent({
		headers: {...properties.headers, 'content-type': type},
		body: type === BYTES ? content : content.toString(),
	});
}

function check(message, type, i)
{
	const wanted = event(type, i);
	const {data, time, ...attributes} = wanted;
	const got = parse(message);
	const {headers = {}} = message.properties;

	assert.strictEqual(got.specversion, '1.0');
	for (const name of Object.keys(attributes))
		assert.strictEqual(got[name], attributes[name], name);
	// the SDK keeps milliseconds
	assert.strictEqual(got.time, new Date(time).toISOString());
	// what the SDK makes of data_base64, which is all that is not JSON
	if (ArrayBuffer.isView(got.data))
		assert.deepStrictEqual(Buffer.from(got.data),
			Buffer.from(data));
	else
		assert.deepStrictEqual(got.data, data);
	assert(got.validate());
	assert.strictEqual(time, headers['ce-time'] ||
		JSON.parse(message.content).time);
}

async function checkAll(type, count, queue)
{
	const connection = await amqp.connect(process.env.WAYBILL_AMQP);
	const channel = await connection.createChannel();
	let i = 0;

	await receive(channel, queue, count,
		(message) => check(message, type, ++i)).catch((error) => {
		throw new Error(`event ${i}`, {cause: error});
	});
	await connection.close();
	console.log(`${i} events are right`);
}

function main(command, type, count, queue)
{
	if (command === 'make')
		return make(type, Number(count));
	return checkAll(type, Number(count), queue).catch((error) => {
		console.error(error);
		process.exit(1);
	});
}

main(...process.argv.slice(2));
