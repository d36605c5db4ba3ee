/**
 * What the API server allows as names and keys.
 * https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
 */

/** One of the API server's rules: whether it allows a text, and which texts it allows. */
export type NameRule = { readonly allows: (text: string) => boolean; readonly rule: string };

const label = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;

/** Names of Secrets and of classes: subdomains of RFC 1123. */
export const objectName: NameRule = {
  allows: (text) => text.length <= 253 && text.split('.').every((part) => label.test(part)),
  rule: 'use lower-case letters, digits, "-" and ".", at most 253, and begin and end with a letter or digit',
};

/** Names of namespaces: labels of RFC 1123. */
export const namespaceName: NameRule = {
  allows: (text) => text.length <= 63 && label.test(text),
  rule: 'use lower-case letters, digits and "-", at most 63, and begin and end with a letter or digit',
};

/** Keys of a Secret. */
export const secretKey: NameRule = {
  allows: (text) => /^[-._a-zA-Z0-9]{1,253}$/.test(text) && text !== '.' && !text.startsWith('..'),
  rule: 'use letters, digits, "-", "_" and ".", at most 253, and do not begin with ".."',
};

const qualified = /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;

/** Values of labels. */
export const labelValue: NameRule = {
  allows: (text) => text === '' || qualified.test(text),
  rule: 'use letters, digits, "-", "_" and ".", at most 63, and begin and end with a letter or digit',
};

/** Keys of labels and, in lower case, of annotations: `name` or `example.com/name`. */
export const metadataKey: NameRule = {
  allows: (text) => {
    const [name = '', prefix, ...others] = text.split('/').reverse();
    const hasPrefix = prefix === undefined || (prefix !== '' && objectName.allows(prefix));
    return qualified.test(name) && hasPrefix && others.length === 0;
  },
  rule: 'write it like name or example.com/name',
};
