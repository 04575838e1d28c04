package main

import (
	"context"
	"crypto/tls"
	"math"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

func newEtcd(url string, security *tls.Config) *clientv3.Client {
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{url}, TLS: security, DialTimeout: 5 * time.Second, MaxCallRecvMsgSize: math.MaxInt32})
	check(err)
	return client
}

// read goes through all keys under a prefix at one revision, a page after the other.
func read(client *clientv3.Client, prefix string, limit int64) {
	start, used, count := time.Now(), cpu(), 0
	key, end, revision := prefix, clientv3.GetPrefixRangeEnd(prefix), int64(0)
	for {
		page, err := client.Get(context.Background(), key, clientv3.WithRange(end), clientv3.WithLimit(limit),
			clientv3.WithRev(revision))
		check(err)
		count += len(page.Kvs)
		if !page.More {
			break
		}
		revision = page.Header.Revision
		key = string(page.Kvs[len(page.Kvs)-1].Key) + "\x00"
	}
	report(count, time.Since(start), cpu()-used)
}
