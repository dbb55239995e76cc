package install

import (
	"encoding/json"
	"fmt"
	"testing"
)

// Answers of lsblk: of util-linux 2.38, and of 2.34, which has numbers between quotes
// and one mount point each.
func TestDisks(t *testing.T) {
	t.Parallel()
	const modern = `[
{"name":"/dev/sr0","type":"rom","size":1073741312,"model":"QEMU DVD-ROM","serial":"QM1","mountpoints":[null]},
{"name":"/dev/zram0","type":"disk","size":0,"model":null,"serial":null,"mountpoints":[null]},
{"name":"/dev/vdb","type":"disk","size":5368709120,"model":null,"serial":"data","mountpoints":[null],
 "children":[{"name":"/dev/vdb1","type":"part","size":1,"mountpoints":["/srv"]}]},
{"name":"/dev/sda","type":"disk","size":10737418240,"model":"QEMU HARDDISK ","serial":"1","mountpoints":[null],
 "children":[{"name":"/dev/sda1","type":"part","size":1,"mountpoints":[null],
  "children":[{"name":"/dev/mapper/vg-root","type":"lvm","size":1,"mountpoints":["/","/var/lib/docker"]}]},
  {"name":"/dev/sda2","type":"part","size":1,"mountpoints":["[SWAP]"]}]}]`
	const old = `[{"name":"/dev/vda","type":"disk","size":"10737418240","model":null,"serial":null,"mountpoint":null,
 "children":[{"name":"/dev/vda1","type":"part","size":"1","mountpoint":"/"},{"name":"/dev/vda15","type":"part","size":"1","mountpoint":"/boot/efi"}]},
{"name":"/dev/vdb","type":"disk","size":"1024","mountpoint":null}]`
	for in, want := range map[string]string{
		modern: "[/dev/sda, 10.0 GiB, QEMU HARDDISK, 1, the running system /dev/vdb, 5.0 GiB, data, mounted at /srv]",
		old:    "[/dev/vda, 10.0 GiB, the running system /dev/vdb, 0.0 GiB]",
	} {
		var devices []device
		if err := json.Unmarshal([]byte(in), &devices); err != nil {
			t.Fatal(err)
		}
		list := disks(devices, diskType)
		if got := fmt.Sprint(list); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if !list[0].Root || list[1].Root {
			t.Errorf("the root is on %+v", list)
		}
	}
}
