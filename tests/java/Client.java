// SPDX-License-Identifier: MIT
// A client of a JDK and nothing else: comes in with a token on the upgrade, runs one task, says how it ended.
// java Client.java ws://HOST:PORT/ws TOKEN
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.WebSocket;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.TimeUnit;

public class Client implements WebSocket.Listener {
    private final CompletableFuture<String> ended = new CompletableFuture<>();
    private final StringBuilder text = new StringBuilder();

    @Override
    public CompletionStage<?> onText(WebSocket socket, CharSequence part, boolean last) {
        text.append(part);
        if (last) {
            String message = text.toString();
            text.setLength(0);
            if (message.contains("\"type\":\"completed\""))
                ended.complete(message);
        }
        socket.request(1);
        return null;
    }

    @Override
    public void onError(WebSocket socket, Throwable error) {
        ended.completeExceptionally(error);
    }

    public static void main(String[] words) throws Exception {
        Client client = new Client();
        WebSocket socket = HttpClient.newHttpClient().newWebSocketBuilder()
                .header("Authorization", "Bearer " + words[1])
                .subprotocols("taskhub.v1")
                .buildAsync(URI.create(words[0]), client).get(30, TimeUnit.SECONDS);
        socket.sendText("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"task.submit\","
                + "\"params\":{\"task\":\"noop\"}}", true);
        System.out.println(client.ended.get(30, TimeUnit.SECONDS));
        socket.sendClose(WebSocket.NORMAL_CLOSURE, "").get(30, TimeUnit.SECONDS);
    }
}
