package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"net/url"
	"time"
)

type object struct {
	namespace, name string
	body            []byte // as it is PUT
}

// field takes the next field off a protobuf message: number, bytes of a length-delimited one, and the rest.
func field(message []byte) (int, []byte, []byte) {
	tag, n := binary.Uvarint(message)
	message = message[n:]
	value, n := binary.Uvarint(message)
	if tag&7 == 0 {
		return int(tag >> 3), nil, message[n:]
	}
	if tag&7 != 2 || n <= 0 || uint64(len(message)-n) < value {
		log.Fatal("no protobuf list")
	}
	return int(tag >> 3), message[n : uint64(n)+value], message[uint64(n)+value:]
}

func bytesField(out []byte, number int, value []byte) []byte {
	out = binary.AppendUvarint(out, uint64(number)<<3|2)
	out = binary.AppendUvarint(out, uint64(len(value)))
	return append(out, value...)
}

func parse(item []byte) object {
	var found object
	_, meta, _ := field(item)
	for len(meta) > 0 {
		var number int
		var value []byte
		number, value, meta = field(meta)
		switch number {
		case 1:
			found.name = string(value)
		case 3:
			found.namespace = string(value)
		}
	}
	kind := bytesField(bytesField(nil, 1, []byte("v1")), 2, []byte("Secret"))
	found.body = bytesField(bytesField([]byte("k8s\x00"), 1, kind), 2, item)
	return found
}

// list reads all secrets.
func list(api *server, namespace string) []object {
	path, token := "/api/v1/secrets?limit=500", ""
	if namespace != "" {
		path = "/api/v1/namespaces/" + namespace + "/secrets?limit=500"
	}
	var objects []object
	for {
		page := api.call("GET", path+"&continue="+url.QueryEscape(token), protobuf, "", nil)[4:]
		token = ""
		for len(page) > 0 {
			var number int
			var value []byte
			number, value, page = field(page)
			for number == 2 && len(value) > 0 {
				var part []byte
				var inner int
				inner, part, value = field(value)
				if inner == 2 {
					objects = append(objects, parse(part))
				}
				for inner == 1 && len(part) > 0 {
					var text []byte
					var at int
					at, text, part = field(part)
					if at == 3 {
						token = string(text)
					}
				}
			}
		}
		if token == "" {
			return objects
		}
	}
}

func put(api *server, namespace string, most, concurrency int) {
	objects := list(api, namespace)
	if most > 0 && len(objects) > most {
		objects = objects[:most]
	}
	start, used := time.Now(), cpu()
	each(len(objects), concurrency, func(i int) {
		o := objects[i]
		status, data := api.try("PUT", "/api/v1/namespaces/"+o.namespace+"/secrets/"+o.name,
			protobuf+";as=PartialObjectMetadata;g=meta.k8s.io;v=v1", protobuf, bytes.NewReader(o.body))
		// What others changed or deleted meanwhile is theirs.
		if status > 299 && status != 404 && status != 409 {
			log.Fatalf("PUT %s/%s: %d %.200s", o.namespace, o.name, status, data)
		}
	})
	report(len(objects), time.Since(start), cpu()-used)
}

func seed(api *server, prefix string, first, count, namespaces, size, concurrency int) {
	value := make([]byte, size)
	_, err := rand.Read(value)
	check(err)
	data := base64.StdEncoding.EncodeToString(value)
	start, used := time.Now(), cpu()
	if first == 0 {
		for i := range namespaces {
			text := fmt.Sprintf(`{"metadata":{"name":"%s-%d"}}`, prefix, i)
			api.call("POST", "/api/v1/namespaces", "application/json", "application/json", bytes.NewReader([]byte(text)))
		}
	}
	each(count, concurrency, func(i int) {
		i += first
		text := fmt.Sprintf(`{"metadata":{"name":"%s-%06d"},"data":{"value":"%s"}}`, prefix, i, data)
		api.call("POST", fmt.Sprintf("/api/v1/namespaces/%s-%d/secrets", prefix, i%namespaces),
			protobuf+";as=PartialObjectMetadata;g=meta.k8s.io;v=v1", "application/json", bytes.NewReader([]byte(text)))
	})
	report(count, time.Since(start), cpu()-used)
}
