// SPDX-License-Identifier: BSD-2-Clause
// The same client as client.py, with amqplib: see there. Its second and third
// messages are made by the CloudEvents SDK, for HTTP, and sent as they are.
'use strict';
const amqp = require('amqplib');
const {CloudEvent, HTTP} = require('cloudevents');

const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
const SEEN = ['gotid', 'gotsource', 'gottype', 'gotsubject', 'gotcolor',
	'partitionkey'];

async function bind(channel, queue, exchange, key)
{
	await channel.assertQueue(queue, {durable: true});
	await channel.bindQueue(queue, exchange, key);
}

async function send(channel, exchange)
{
	const publish = (body, options) => channel.publish(exchange,
		'interop.said', Buffer.from(body),
		{persistent: true, mandatory: true, ...options});
	const said = (id, more) => new CloudEvent({id, source: '/amqplib',
		type: 'interop.said', subject: `greeting/${id}`, color: 'blue',
		datacontenttype: 'application/json', data: {id}, ...more});

	publish('{"id":"n1"}', {contentType: 'application/json', headers: {
		'ce-specversion': '1.0', 'ce-id': 'n1', 'ce-color': true,
		'ce-source': '/amqplib', 'ce-type': 'interop.said',
		'ce-subject': 'greeting/n1', 'ce-partitionkey': 'bob',
		traceparent: TRACE}});
	const binary = HTTP.binary(said('n2', {partitionkey: 'bob'}));
	publish(binary.body, {headers: {...binary.headers, traceparent: TRACE},
		contentType: binary.headers['content-type']});
	const structured = HTTP.structured(said('n3', {partitionkey: 'bob',
		traceparent: TRACE}));
	publish(structured.body,
		{contentType: structured.headers['content-type']});
	await channel.waitForConfirms();
}

// Calls `each` with so many messages, then acknowledges them all.
function receive(channel, queue, count, each)
{
	return new Promise((resolve, reject) => {
		const late = setTimeout(() => reject(new Error(
			`${count} messages have not come within 20 s`)), 20000);
		channel.consume(queue, (message) => {
			if (count <= 0)
				return;
			try {
				each(message);
			} catch (error) {
				count = 0;
				reject(error);
			}
			if (--count !== 0)
				return;
			clearTimeout(late);
			channel.ack(message, true);
			resolve();
		}).catch(reject);
	});
}

function print({fields, properties, content})
{
	const {headers} = properties;
	const words = SEEN.map((name) => headers[`ce-${name}`] || '');
	const same = properties.messageId === headers['ce-id'] &&
		properties.type === headers['ce-type'] &&
		properties.type === 'interop.echoed' &&
		fields.routingKey === properties.type &&
		properties.deliveryMode === 2;

	words.push(headers.traceparent || '', properties.contentType,
		content.toString());
	console.log(same ? words.join('|') :
		`properties differ: ${JSON.stringify([fields, properties])}`);
}

async function main(command, ...words)
{
	const connection = await amqp.connect(process.env.WAYBILL_AMQP);
	const channel = await connection.createConfirmChannel();

	if (command === 'bind')
		await bind(channel, ...words);
	else if (command === 'send')
		await send(channel, ...words);
	else
		await receive(channel, words[0], Number(words[1]), print);
	await channel.close();
	await connection.close();
}

module.exports = {receive};
if (require.main === module)
	main(...process.argv.slice(2)).catch((error) => {
		console.error(error);
		process.exit(1);
	});
