// Follows the live feed with npm's ws: node follow_ws.cjs URL TOKEN, one JSON line a frame.
const WebSocket = require("ws");

const [url, token] = process.argv.slice(2);
const socket = new WebSocket(url, ["postrider.v1", "bearer." + token]);
socket.on("message", (data) => {
  console.log(data.toString());
  if (JSON.parse(data).type === "notification") {
    socket.send(JSON.stringify({ type: "ack", up_to_seq: 1 }));
  }
});
socket.on("close", (code) => process.exit(code === 1000 ? 0 : 1));
