package main

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// command is one method called many times, or the end of such a command.
type command struct {
	ID int `json:"id"`
	// The id of a command that must start no more calls.
	Stop   int    `json:"stop"`
	Method string `json:"method"`
	// Call number n sends message n modulo their count.
	Messages []message `json:"messages"`
	// The number of calls; 0: until a command stops it.
	Calls int64 `json:"calls"`
	// The number of concurrent calls; default 1.
	AtOnce        int   `json:"atOnce"`
	TimeoutMs     int64 `json:"timeoutMs"`
	CancelAfterMs int64 `json:"cancelAfterMs"`
}

// outcome is the result of some calls of a command, which is the same for all of them.
type outcome struct {
	Calls int `json:"calls"`
	// The index of the message.
	Message  int    `json:"message"`
	Code     string `json:"code"`
	Text     string `json:"text,omitempty"`
	Response any    `json:"response,omitempty"`
}

type tally struct {
	mutex   sync.Mutex
	alike   map[string]*outcome
	slowest time.Duration
}

func (tally *tally) add(one outcome, took time.Duration) {
	key, _ := json.Marshal(one)
	tally.mutex.Lock()
	defer tally.mutex.Unlock()
	tally.slowest = max(tally.slowest, took)
	if tally.alike[string(key)] == nil {
		tally.alike[string(key)] = &one
	}
	tally.alike[string(key)].Calls++
}

func (tally *tally) outcomes() []*outcome {
	all := []*outcome{}
	for _, one := range tally.alike {
		all = append(all, one)
	}
	return all
}

func (cmd *command) run(running context.Context, connection *grpc.ClientConn) *tally {
	results := &tally{alike: map[string]*outcome{}}
	encoded := make([][]byte, len(cmd.Messages))
	for index, each := range cmd.Messages {
		encoded[index] = each.encode()
	}
	var begun atomic.Int64
	var callers sync.WaitGroup
	for range max(1, cmd.AtOnce) {
		callers.Add(1)
		go func() {
			defer callers.Done()
			for running.Err() == nil {
				number := begun.Add(1) - 1
				if cmd.Calls != 0 && number >= cmd.Calls {
					return
				}
				index := int(number % int64(len(encoded)))
				start := time.Now()
				one := cmd.call(connection, encoded[index])
				one.Message = index
				results.add(one, time.Since(start))
			}
		}()
	}
	callers.Wait()
	return results
}

func (cmd *command) call(connection *grpc.ClientConn, encoded []byte) outcome {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if cmd.TimeoutMs != 0 {
		ctx, cancel = context.WithTimeout(ctx, time.Duration(cmd.TimeoutMs)*time.Millisecond)
		defer cancel()
	}
	if cmd.CancelAfterMs != 0 {
		defer time.AfterFunc(time.Duration(cmd.CancelAfterMs)*time.Millisecond, cancel).Stop()
	}
	// A message with only unknown fields is written and read unchanged by the codec of generated code.
	sent, received := &emptypb.Empty{}, &emptypb.Empty{}
	sent.ProtoReflect().SetUnknown(encoded)
	err := connection.Invoke(ctx, cmd.Method, sent, received)
	if err != nil {
		failed := status.Convert(err)
		return outcome{Code: codeName(failed), Text: failed.Message()}
	}
	response, err := decode(cmd.Method, received.ProtoReflect().GetUnknown())
	if err != nil {
		return outcome{Code: "OK", Text: err.Error()}
	}
	return outcome{Code: "OK", Response: response}
}

// The code names of the protocol. Those of Go differ.
var codeNames = []string{"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
	"UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED"}

func codeName(failed *status.Status) string {
	if code := int(failed.Code()); code < len(codeNames) {
		return codeNames[code]
	}
	return strconv.Itoa(int(failed.Code()))
}
