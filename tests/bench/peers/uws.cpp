// A broadcast server on uWebSockets, in one thread: what a client at /pub sends goes to every one at /sub of the same ?id=.
// usage: uws PORT

#include <App.h>

#include <cstdlib>
#include <string>

struct Client {
  std::string channel;
};

// Bounds far above what is measured. Without an answer for 40 s a client is closed; after 24 s of silence it is pinged.
template <class Message, class Open>
uWS::App::WebSocketBehavior<Client> behavior(Open open, Message message) {
  return {
      .compression = uWS::DISABLED,
      .maxPayloadLength = 64 * 1024,
      .idleTimeout = 40,
      .maxBackpressure = 64 * 1024 * 1024,
      .sendPingsAutomatically = true,
      .upgrade =
          [](auto *response, auto *request, auto *context) {
            response->template upgrade<Client>({.channel = std::string(request->getQuery("id"))},
                                               request->getHeader("sec-websocket-key"),
                                               request->getHeader("sec-websocket-protocol"),
                                               request->getHeader("sec-websocket-extensions"), context);
          },
      .open = open,
      .message = message,
  };
}

int main(int, char **arguments) {
  auto stay = [](auto *) {};
  auto subscribe = [](auto *client) { client->subscribe(client->getUserData()->channel); };
  auto ignore = [](auto *, std::string_view, uWS::OpCode) {};
  auto echo = [](auto *client, std::string_view text, uWS::OpCode opcode) { client->send(text, opcode); };

  uWS::App app;
  auto publish = [&app](auto *client, std::string_view text, uWS::OpCode opcode) {
    app.publish(client->getUserData()->channel, text, opcode);
  };
  app.ws<Client>("/sub", behavior(subscribe, ignore))
      .ws<Client>("/pub", behavior(stay, publish))
      .ws<Client>("/echo", behavior(stay, echo))
      .listen("127.0.0.1", std::atoi(arguments[1]), [](auto *listening) {
        if (!listening) std::exit(1);
      })
      .run();
}
