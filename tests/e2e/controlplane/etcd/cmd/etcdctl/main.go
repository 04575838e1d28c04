// A real etcdctl, for snapshots and for deleting a value behind the API
// server's back. Built on demand only.
package main

import "go.etcd.io/etcd/etcdctl/v3/ctlv3"

func main() {
	ctlv3.MustStart()
}
