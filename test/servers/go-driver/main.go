// Go-driver is the client side of the Secrets Store CSI driver: grpc-go over one connection to the
// socket of a provider, created as drivers create it. It reads commands from its standard input, one
// JSON document per line, and runs them concurrently. It prints one line for each when it is done.
// It ends at the end of its input.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"log"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"
)

const (
	service = "v1alpha1.CSIDriverProvider"
	waits   = `{"methodConfig": [{"name": [{"service": "` + service + `"}], "waitForReady": true`
	// The options of the driver.
	retries = `, "retryPolicy": {"maxAttempts": 3, "initialBackoff": "1s", "maxBackoff": "10s", "backoffMultiplier": 1.1,
		"retryableStatusCodes": ["UNAVAILABLE"]}`
)

func main() {
	socket := flag.String("socket", "", "the provider's socket")
	authority := flag.String("authority", "path", "path: a dialer of our own, as in drivers up to 1.5; localhost: the scheme unix, as from 1.6 on")
	retry := flag.Bool("retry", true, "tries again after UNAVAILABLE, as drivers do")
	pings := flag.Duration("keepalive", 0, "pings a connection that is silent for so long, also one without calls; grpc-go takes no less than 10s")
	flag.Parse()

	connections := &connectionCount{}
	config := waits
	if *retry {
		config += retries
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(config + "}]}"),
		grpc.WithStatsHandler(connections),
	}
	if *pings > 0 {
		options = append(options, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: *pings, Timeout: time.Second, PermitWithoutStream: true,
		}))
	}
	target := "unix:" + *socket
	if *authority == "path" {
		target = *socket
		options = append(options, grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}))
	}
	// Drivers from 1.6 on call NewClient, which older versions do not have. With a scheme in the target
	// it has the same effect.
	connection, err := grpc.Dial(target, options...)
	if err != nil {
		log.Fatal(err)
	}
	serve(connection, connections)
}

// connectionCount is the number of connections so far.
type connectionCount struct{ made atomic.Int64 }

func (count *connectionCount) HandleConn(_ context.Context, event stats.ConnStats) {
	if _, isBegin := event.(*stats.ConnBegin); isBegin {
		count.made.Add(1)
	}
}
func (*connectionCount) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context {
	return ctx
}
func (*connectionCount) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }
func (*connectionCount) HandleRPC(context.Context, stats.RPCStats)                       {}

// result is the result of a command.
type result struct {
	ID       int        `json:"id"`
	Outcomes []*outcome `json:"outcomes"`
	// Of the slowest call, in milliseconds.
	SlowestMs int64 `json:"slowestMs"`
	// Made since the program began.
	Connections int64 `json:"connections"`
}

func serve(connection *grpc.ClientConn, connections *connectionCount) {
	var printing sync.Mutex
	printed := json.NewEncoder(os.Stdout)
	stops := map[int]context.CancelFunc{}
	input := bufio.NewScanner(os.Stdin)
	input.Buffer(nil, 64<<20)
	for input.Scan() {
		var cmd command
		if err := json.Unmarshal(input.Bytes(), &cmd); err != nil {
			log.Fatal(err)
		}
		if cmd.Stop != 0 {
			stops[cmd.Stop]()
			continue
		}
		running, stop := context.WithCancel(context.Background())
		stops[cmd.ID] = stop
		go func() {
			tally := cmd.run(running, connection)
			printing.Lock()
			defer printing.Unlock()
			err := printed.Encode(result{cmd.ID, tally.outcomes(), tally.slowest.Milliseconds(), connections.made.Load()})
			if err != nil {
				log.Fatal(err)
			}
		}()
	}
}
