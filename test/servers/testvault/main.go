// testvault is a Vault core behind its own HTTP API, on loopback, with the backends that the suite
// needs: approle, jwt, kubernetes and cert to log in; kv, pki, transit and database (PostgreSQL) to
// read.
//
// Vault's own command does not build from the published modules: the published sdk differs from the
// one that each release uses. So this program leaves out enterprise paths, adds the existence checks
// that the published sdk needs, and registers only what a test uses. It has no raft, no standby and no
// namespaces.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"reflect"
	"sort"
	_ "unsafe" // for go:linkname

	hclog "github.com/hashicorp/go-hclog"
	jwt "github.com/hashicorp/vault-plugin-auth-jwt"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/builtin/credential/cert"
	"github.com/hashicorp/vault/builtin/logical/database"
	"github.com/hashicorp/vault/builtin/logical/pki"
	"github.com/hashicorp/vault/builtin/logical/transit"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/plugins/database/postgresql"
	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical"
	"github.com/hashicorp/vault/sdk/physical/file"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

// entPaths is nil in the published module, but Vault calls it.
//
//go:linkname entPaths github.com/hashicorp/vault/vault.entPaths
var entPaths func(*vault.SystemBackend) []*framework.Path

func init() { entPaths = func(*vault.SystemBackend) []*framework.Path { return nil } }

// checked adds an existence check to every path that creates something: the published sdk rejects a
// backend without one.
func checked(factory logical.Factory) logical.Factory {
	return func(ctx context.Context, config *logical.BackendConfig) (logical.Backend, error) {
		backend, err := factory(ctx, config)
		if err != nil {
			return backend, err
		}
		value := reflect.Indirect(reflect.ValueOf(backend))
		if value.Kind() != reflect.Struct {
			return backend, nil
		}
		inner, ok := value.FieldByName("Backend").Interface().(*framework.Backend)
		if !ok {
			return backend, nil
		}
		for _, path := range inner.Paths {
			_, creates := path.Operations[logical.CreateOperation]
			if path.ExistenceCheck == nil && (creates || path.Callbacks[logical.CreateOperation] != nil) {
				path.ExistenceCheck = neverExists
			}
		}
		return backend, nil
	}
}

func neverExists(context.Context, *logical.Request, *framework.FieldData) (bool, error) {
	return false, nil
}

// registry lists the built-in plugins.
type registry map[consts.PluginType]map[string]any

func (r registry) Contains(name string, kind consts.PluginType) bool {
	_, ok := r[kind][name]
	return ok
}

func (r registry) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	made, ok := r[kind][name]
	if !ok {
		return nil, false
	}
	if factory, ok := made.(func() (any, error)); ok {
		return factory, true
	}
	return func() (any, error) { return made, nil }, true
}

func (r registry) Keys(kind consts.PluginType) []string {
	var names []string
	for name := range r[kind] {
		names = append(names, name)
	}
	sort.Strings(names)
	return names
}

func (r registry) DeprecationStatus(name string, kind consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, r.Contains(name, kind)
}

func (r registry) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }

func storage(directory string, logger hclog.Logger) (physical.Backend, error) {
	if directory == "" {
		return inmem.NewInmem(nil, logger)
	}
	return file.NewFileBackend(map[string]string{"path": directory}, logger)
}

func core(address, directory string) (*vault.Core, error) {
	logger := hclog.New(&hclog.LoggerOptions{Output: os.Stderr, Level: hclog.Warn})
	backend, err := storage(directory, logger)
	if err != nil {
		return nil, err
	}
	credential := map[string]logical.Factory{
		"approle":    checked(approle.Factory),
		"cert":       checked(cert.Factory),
		"jwt":        checked(jwt.Factory),
		"kubernetes": checked(kubernetes.Factory),
	}
	secrets := map[string]logical.Factory{
		"database": checked(database.Factory),
		"kv":       kv.Factory,
		"pki":      checked(pki.Factory),
		"transit":  checked(transit.Factory),
	}
	builtin := registry{
		consts.PluginTypeCredential: {},
		consts.PluginTypeSecrets:    {},
		consts.PluginTypeDatabase:   {"postgresql-database-plugin": postgresql.New},
	}
	for name, factory := range credential {
		builtin[consts.PluginTypeCredential][name] = factory
	}
	for name, factory := range secrets {
		builtin[consts.PluginTypeSecrets][name] = factory
	}
	return vault.NewCore(&vault.CoreConfig{
		Physical:           backend,
		StorageType:        "inmem",
		Logger:             logger,
		DisableMlock:       true,
		CredentialBackends: credential,
		LogicalBackends:    secrets,
		BuiltinRegistry:    builtin,
		RedirectAddr:       "https://" + address,
	})
}

func main() {
	address := flag.String("addr", "127.0.0.1:0", "where to listen")
	directory := flag.String("dir", "", "where to keep everything; in memory if empty")
	certificate := flag.String("cert", "", "PEM file; plain HTTP if empty")
	key := flag.String("key", "", "PEM file of the certificate's key")
	flag.Parse()

	made, err := core(*address, *directory)
	if err != nil {
		log.Fatal(err)
	}
	listener, err := net.Listen("tcp", *address)
	if err != nil {
		log.Fatal(err)
	}
	handler := vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core:           made,
		ListenerConfig: &configutil.Listener{Address: *address},
	})
	// TLS requests a client certificate. Only the method cert verifies it.
	server := &http.Server{Handler: handler, TLSConfig: &tls.Config{ClientAuth: tls.RequestClientCert}}
	fmt.Println("listening on", listener.Addr())
	if *certificate == "" {
		log.Fatal(server.Serve(listener))
	}
	log.Fatal(server.ServeTLS(listener, *certificate, *key))
}
