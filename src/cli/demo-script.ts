/** Who may read what: without a grant a shared identity, such as the embedded store's, serves nobody. */
export const grants = `grants:
  - provider: local
    namespaces: [shop]
    serviceAccounts: [web]
    names: ["local/shop/*"]
`;

/** Two secrets, three files: one whole, one taken out of JSON, one that only root may read. */
export const secretProviderClass = `apiVersion: secrets-store.csi.x-k8s.io/v1
kind: SecretProviderClass
metadata: {name: web, namespace: shop}
spec:
  provider: local
  parameters:
    objects: |
      - objectName: shop/db
        objectAlias: db.json
        jmesPath:
          - path: password
            objectAlias: db/password
      - objectName: shop/api-key
        objectAlias: api-key
        filePermission: "0400"
`;

/** The same with two mistakes. */
export const wrongClass = secretProviderClass
  .replace('objectAlias: api-key', 'objectAlais: api-key')
  .replace('"0400"', '"400 "');
