// The command `vault` as far as docs/docker/vault.md uses it, because no package registry has the real
// one. It calls the API at VAULT_ADDR with VAULT_TOKEN.
import { readFileSync } from 'node:fs';
import process from 'node:process';

const { fetch } = globalThis;

const words = process.argv.slice(2);
const flags = Object.fromEntries(
  words
    .filter((word) => /^-\w/.test(word))
    .map((word) => [word.replace(/^-|=.*$/g, ''), word.replace(/^[^=]*=?/, '')]),
);
const [command, ...rest] = words.filter((word) => !/^-\w/.test(word));

/** `name=value ...` as an object. */
const fieldsOf = (pairs) =>
  Object.fromEntries(pairs.map((pair) => [pair.replace(/=.*$/s, ''), pair.replace(/^[^=]*=/, '')]));

async function call(method, path, body) {
  const response = await fetch(new URL(`/v1/${path}`, process.env.VAULT_ADDR), {
    method,
    headers: { 'x-vault-token': process.env.VAULT_TOKEN },
    ...(body && { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return text === '' ? {} : JSON.parse(text);
}

const commands = {
  async kv([, path, ...pairs]) {
    const [mount, ...name] = path.split('/');
    return call('POST', `${mount}/data/${name.join('/')}`, { data: fieldsOf(pairs) });
  },
  secrets: ([, type]) =>
    call('POST', `sys/mounts/${flags.path ?? type}`, {
      type,
      ...(flags.version && { options: { version: flags.version } }),
    }),
  auth: ([, type]) => call('POST', `sys/auth/${type}`, { type }),
  policy: ([, name]) =>
    call('PUT', `sys/policies/acl/${name}`, { policy: readFileSync(0, 'utf8') }),
  write: ([path, ...pairs]) => call('PUT', path, fieldsOf(pairs)),
  read: ([path]) => call('GET', path),
};

const { data } = await commands[command](rest);
if (flags.field !== undefined) process.stdout.write(String(data[flags.field]));
