package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// The messages of proto/provider.proto, written and read without the code of Keyferry.

// message is a request: its fields, or its raw bytes.
type message struct {
	Version    string `json:"version"`
	Attributes string `json:"attributes"`
	Secrets    string `json:"secrets"`
	TargetPath string `json:"targetPath"`
	Permission string `json:"permission"`
	// The size of an unknown field in bytes.
	Padding int `json:"padding"`
	// Replaces all other fields.
	Bytes []byte `json:"bytes"`
}

const unknownField = 1000

func (message message) encode() []byte {
	if message.Bytes != nil {
		return message.Bytes
	}
	var encoded []byte
	text := func(field protowire.Number, value string) {
		if value != "" {
			encoded = protowire.AppendString(protowire.AppendTag(encoded, field, protowire.BytesType), value)
		}
	}
	text(1, message.Version+message.Attributes)
	text(2, message.Secrets)
	text(3, message.TargetPath)
	text(4, message.Permission)
	text(unknownField, strings.Repeat("p", message.Padding))
	return encoded
}

type versionResponse struct {
	Version        string `json:"version"`
	RuntimeName    string `json:"runtimeName"`
	RuntimeVersion string `json:"runtimeVersion"`
}

type mountResponse struct {
	// By path: `mode length sha256`.
	Files map[string]string `json:"files"`
	// By id.
	Versions map[string]string `json:"versions"`
}

func decode(method string, encoded []byte) (any, error) {
	if strings.HasSuffix(method, "/Version") {
		response := versionResponse{}
		texts := map[protowire.Number]*string{1: &response.Version, 2: &response.RuntimeName, 3: &response.RuntimeVersion}
		return &response, eachField(encoded, texts, nil, nil)
	}
	response := mountResponse{map[string]string{}, map[string]string{}}
	return &response, eachField(encoded, nil, nil, func(field protowire.Number, value []byte) error {
		switch field {
		case 1:
			var id, version string
			err := eachField(value, map[protowire.Number]*string{1: &id, 2: &version}, nil, nil)
			response.Versions[id] = version
			return err
		case 3:
			var path, contents string
			var mode uint64
			texts := map[protowire.Number]*string{1: &path, 3: &contents}
			err := eachField(value, texts, map[protowire.Number]*uint64{2: &mode}, nil)
			digest := sha256.Sum256([]byte(contents))
			response.Files[path] = fmt.Sprintf("%o %d %s", mode, len(contents), hex.EncodeToString(digest[:]))
			return err
		}
		return fmt.Errorf("field %d came, which drivers take no heed of, or take for a failure", field)
	})
}

// eachField reads a message. A field that is not in texts or numbers, and that other does not accept, is an error.
func eachField(
	encoded []byte,
	texts map[protowire.Number]*string,
	numbers map[protowire.Number]*uint64,
	other func(protowire.Number, []byte) error,
) error {
	for len(encoded) > 0 {
		field, kind, length := protowire.ConsumeTag(encoded)
		if length < 0 {
			return protowire.ParseError(length)
		}
		encoded = encoded[length:]
		switch {
		case kind == protowire.VarintType && numbers[field] != nil:
			*numbers[field], length = protowire.ConsumeVarint(encoded)
		case kind == protowire.BytesType:
			var value []byte
			value, length = protowire.ConsumeBytes(encoded)
			if length < 0 {
				return protowire.ParseError(length)
			}
			if texts[field] != nil {
				*texts[field] = string(value)
			} else if other == nil {
				return fmt.Errorf("field %d is of no message", field)
			} else if err := other(field, value); err != nil {
				return err
			}
		default:
			return fmt.Errorf("field %d of wire type %d is of no message", field, kind)
		}
		if length < 0 {
			return protowire.ParseError(length)
		}
		encoded = encoded[length:]
	}
	return nil
}
