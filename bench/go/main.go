// What kube-rekey is measured against: loops without any of its care.
//
//	bare seed  creates secrets
//	bare put   reads all objects first, then PUTs each one's own bytes back
//	bare read  reads etcd in pages, as a bare client does
//	bare fill  puts values into etcd, behind the API server's back
//	bare snapshot  saves etcd into a file, as etcdctl does
//	bare neighbour  reads and writes one object, and says how long each took
//
// Each prints one JSON line with what it took.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const protobuf = "application/vnd.kubernetes.protobuf"

type server struct {
	url    string
	client *http.Client
}

func newServer(url, ca, cert, key string, connections int) *server {
	return &server{url, &http.Client{Transport: &http.Transport{
		TLSClientConfig:     tlsConfig(ca, cert, key),
		MaxIdleConnsPerHost: connections,
		MaxConnsPerHost:     connections,
		DisableCompression:  true,
		// HTTP/1.1, as kube-rekey does; an empty map keeps HTTP/2 away.
		TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
	}}}
}

func tlsConfig(ca, cert, key string) *tls.Config {
	pem, err := os.ReadFile(ca)
	check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	pair, err := tls.LoadX509KeyPair(cert, key)
	check(err)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}
}

// call sends one request and gives back the body of a success.
func (s *server) call(method, path, accept, contentType string, body io.Reader) []byte {
	status, data := s.try(method, path, accept, contentType, body)
	if status > 299 {
		log.Fatalf("%s %s: %d %.200s", method, path, status, data)
	}
	return data
}

// try sends one request and gives back whatever is answered.
func (s *server) try(method, path, accept, contentType string, body io.Reader) (int, []byte) {
	request, err := http.NewRequest(method, s.url+path, body)
	check(err)
	request.Header.Set("Accept", accept)
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := s.client.Do(request)
	check(err)
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	check(err)
	return response.StatusCode, data
}

// each calls work for 0 to count-1 from as many goroutines as said.
func each(count, goroutines int, work func(i int)) {
	var next atomic.Int64
	var group sync.WaitGroup
	for range goroutines {
		group.Add(1)
		go func() {
			defer group.Done()
			for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
				work(int(i))
			}
		}()
	}
	group.Wait()
}

func cpu() time.Duration {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func report(objects int, took, used time.Duration) {
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{
		"objects": objects, "seconds": took.Seconds(), "cpu": used.Seconds()}))
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: bare seed|put|read|fill|snapshot|neighbour FLAGS")
	}
	flags := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	url := flags.String("url", "", "of the API server or of etcd")
	ca := flags.String("ca", "", "PEM file")
	cert := flags.String("cert", "", "PEM file")
	key := flags.String("key", "", "PEM file")
	concurrency := flags.Int("concurrency", 16, "requests at once")
	count := flags.Int("count", 0, "seed, fill: how many; put: so many at most")
	first := flags.Int("first", 0, "seed: number of the first one")
	size := flags.Int("size", 500, "seed: bytes of each; fill: at most")
	paths := flags.Int("paths", 1, "fill: so many keys, one after the other, over and over")
	file := flags.String("file", "", "snapshot: this one")
	namespaces := flags.Int("namespaces", 20, "seed: spread over so many")
	prefix := flags.String("prefix", "bench", "seed: of namespaces and names; read: of keys")
	namespace := flags.String("namespace", "", "put: this one alone; neighbour: where")
	rate := flags.Int("rate", 50, "neighbour: reads, and writes, a second")
	seconds := flags.Float64("seconds", 10, "neighbour: for so long")
	limit := flags.Int64("limit", 8000, "read: keys in a page")
	check(flags.Parse(os.Args[2:]))
	api := newServer(*url, *ca, *cert, *key, *concurrency)
	switch os.Args[1] {
	case "seed":
		seed(api, *prefix, *first, *count, *namespaces, *size, *concurrency)
	case "put":
		put(api, *namespace, *count, *concurrency)
	case "read":
		read(newEtcd(*url, tlsConfig(*ca, *cert, *key)), *prefix, *limit)
	case "fill":
		fill(newEtcd(*url, tlsConfig(*ca, *cert, *key)), *count, *paths, *size, *concurrency)
	case "snapshot":
		snapshot(newEtcd(*url, tlsConfig(*ca, *cert, *key)), *file)
	case "neighbour":
		neighbour(api, *namespace, *rate, *seconds)
	default:
		log.Fatal(fmt.Sprintf("no such loop: %s", os.Args[1]))
	}
}
